// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a machine does with a driver, from insmod to rmmod: load, probe, up, traffic, questions
 * from ethtool, a look at the registers from outside, down, unload.
 */
#include <string.h>

#include "hosted/guest_code.h"
#include "hosted/kernel.h"

#define RFLAGS_IF 0x200ull
#define SETTLE_MS 3000u /* the watchdog looks at the link every two seconds */
#define REGS_MAX_BYTES 0x4000u
#define PACKET_BYTES 96u
#define LOOK_EVERY 101u /* call-outs */

uint32_t hosted_peek(struct hosted *h, uint64_t gva)
{
	uint64_t v = hosted_call(h, image_code(guest_peek), gva, 0, 0, 0);

	return v >> 32 ? 0 : (uint32_t)v; /* a read that faulted is no stand-in */
}

void hosted_poke(struct hosted *h, uint64_t gva, uint32_t value)
{
	hosted_call(h, image_code(guest_poke), gva, value, 0, 0);
}

/* A function pointer of an operations structure, called with these; 0 if it is NULL. */
static uint64_t op(struct hosted *h, uint64_t ops, uint32_t offset, const uint64_t *a)
{
	uint64_t fn = ops ? hosted_get(h, ops + offset, 8) : 0;

	return fn ? hosted_call(h, fn, a[0], a[1], a[2], a[3]) : 0;
}

static uint64_t netdev_ops(struct hosted *h)
{
	return h->netdev ? hosted_get(h, h->netdev + h->off.net_device_netdev_ops, 8) : 0;
}

static void set_interrupts(struct hosted *h, bool on)
{
	struct guard_cpu cpu;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	cpu.rflags = on ? cpu.rflags | RFLAGS_IF : cpu.rflags & ~RFLAGS_IF;
	vm_set_cpu(h->vm, h->vcpu, &cpu);
}

/* ndo_open and what Linux does around it */
void hosted_net_open(struct hosted *h)
{
	const struct offsets *o = &h->off;
	const uint64_t a[4] = { h->netdev, 0, 0, 0 };
	uint64_t state = h->netdev + o->net_device_state;

	hosted_put(h, state, 8, hosted_get(h, state, 8) | 1ull << o->link_state_start);
	h->open_result = (int32_t)op(h, netdev_ops(h), o->ndo_open, a);
	if (h->open_result)
		return;
	h->up = true;
	hosted_put(h, h->netdev + o->net_device_flags, 4,
		   hosted_get(h, h->netdev + o->net_device_flags, 4) | o->iff_up);
	op(h, netdev_ops(h), o->ndo_set_rx_mode, a);
}

bool hosted_bring_up(struct hosted *h)
{
	uint64_t init = hosted_entry_flag(h, GM_ENTRY_INIT);

	h->init_result = h->probe_result = h->open_result = -1;
	if (!hosted_pci_init(h))
		return false;
	if (!init) {
		hosted_printf(h, "hosted kernel: the module has no init function\n");
		return false;
	}
	set_interrupts(h, true);
	h->init_result = (int32_t)hosted_call(h, init, 0, 0, 0, 0);
	if (h->init_result || !h->probe_called || h->probe_result)
		return false;
	if (!h->registered || !h->netdev)
		return false;
	hosted_net_open(h);
	return !h->open_result;
}

void hosted_take_down(struct hosted *h)
{
	uint64_t exit = hosted_entry_flag(h, GM_ENTRY_EXIT);

	hosted_net_stop(h);
	if (exit && !h->init_result)
		hosted_call(h, exit, 0, 0, 0, 0);
}

/* Sends one packet; the card's loopback brings it back. */
void hosted_send(struct hosted *h)
{
	static const uint8_t to[6] = { 0x02, 0x47, 0x48, 0, 0, 1 }, from[6] = { 2, 2, 2, 2, 2, 2 };
	const struct offsets *o = &h->off;
	uint64_t skb = hosted_skb(h, PACKET_BYTES), data;
	uint64_t a[4] = { skb, h->netdev, 0, 0 };
	uint8_t frame[PACKET_BYTES];

	if (!skb)
		return;
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 0x88; /* an Ethernet type for experiments */
	frame[13] = 0xb5;
	data = hosted_get(h, skb + o->skb_data, 8);
	hosted_write(h, data, frame, sizeof(frame));
	hosted_put(h, skb + o->skb_len, 4, sizeof(frame));
	hosted_put(h, skb + o->skb_tail, 4, o->net_skb_pad + sizeof(frame));
	hosted_put(h, skb + o->skb_dev, 8, h->netdev);
	if (op(h, netdev_ops(h), o->ndo_start_xmit, a))
		hosted_printf(h, "hosted kernel: the driver did not take the packet\n");
	hosted_idle(h, 20);
	if (h->packet_len == sizeof(frame) - 14 && !memcmp(h->packet, frame + 14, h->packet_len))
		hosted_printf(h, "hosted kernel: a packet of %u bytes went out and came back\n",
			      PACKET_BYTES);
}

void hosted_stats(struct hosted *h)
{
	const struct offsets *o = &h->off;
	uint64_t buf = hosted_alloc(h, o->rtnl_link_stats64_size);
	const uint64_t a[4] = { h->netdev, buf, 0, 0 };

	op(h, netdev_ops(h), o->ndo_get_stats64, a);
	hosted_printf(h, "hosted kernel: %llu packets sent, %llu received, says the driver\n",
		      (unsigned long long)hosted_get(h, buf + o->rtnl_link_stats64_tx_packets, 8),
		      (unsigned long long)hosted_get(h, buf + o->rtnl_link_stats64_rx_packets, 8));
	hosted_free(h, buf);
}

/* ethtool's questions: buffers of Linux's own sizes, the answers are read back by no one but us */
void hosted_ethtool(struct hosted *h)
{
	const struct offsets *o = &h->off;
	uint64_t ops = h->netdev ? hosted_get(h, h->netdev + o->net_device_ethtool_ops, 8) : 0;
	uint64_t buf = hosted_alloc(h, REGS_MAX_BYTES), extra = hosted_alloc(h, REGS_MAX_BYTES);
	uint64_t dev = h->netdev, len;
	char driver[33];

	if (!ops || !buf || !extra)
		return;
#define ASK(id, a1, a2, a3) op(h, ops, o->id, (const uint64_t[4]){ dev, a1, a2, a3 })
	ASK(ethtool_get_drvinfo, buf, 0, 0);
	hosted_string(h, buf + o->drvinfo_driver, driver, sizeof(driver));
	len = ASK(ethtool_get_regs_len, 0, 0, 0) & 0xffffffff;
	if (len && len <= REGS_MAX_BYTES) {
		hosted_fill(h, buf, 0, REGS_MAX_BYTES);
		ASK(ethtool_get_regs, extra, buf, 0);
		h->status_inside = (uint32_t)hosted_get(h, buf + 4, 4);
	}
	ASK(ethtool_get_msglevel, 0, 0, 0);
	hosted_printf(h, "hosted kernel: ethtool: driver %s, link %s\n", driver,
		      ASK(ethtool_get_link, 0, 0, 0) & 0xff ? "up" : "down");
	ASK(ethtool_get_ringparam, buf, extra, 0);
	ASK(ethtool_get_pauseparam, buf, 0, 0);
	ASK(ethtool_get_coalesce, buf, extra, 0);
	ASK(ethtool_get_wol, buf, 0, 0);
	len = ASK(ethtool_get_eeprom_len, 0, 0, 0) & 0xffffffff;
	if (len) {
		hosted_fill(h, buf, 0, o->eeprom_size);
		hosted_put(h, buf + o->eeprom_len, 4, 16);
		ASK(ethtool_get_eeprom, buf, extra, 0);
	}
	len = ASK(ethtool_get_sset_count, o->eth_ss_stats, 0, 0) & 0xffffffff;
	if (len && len <= REGS_MAX_BYTES / o->eth_gstring_len) {
		ASK(ethtool_get_strings, o->eth_ss_stats, buf, 0);
		ASK(ethtool_get_ethtool_stats, extra, buf, 0);
	}
#undef ASK
	hosted_free(h, buf);
	hosted_free(h, extra);
}

/* The registers that the driver just used, from guest instructions that are not the driver's. */
static void look_from_outside(struct hosted *h)
{
	static const uint32_t where[] = { NIC_REG_STATUS, NIC_REG_CTRL, 0x5400, 0x1fffc };
	uint64_t writes = h->nic.writes;

	if (h->dead)
		return;
	for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		uint32_t v = hosted_peek(h, HOSTED_NIC_GVA + where[i]);

		h->outside_reads++;
		h->outside_ones += v == 0xffffffff;
		if (where[i] == NIC_REG_STATUS)
			h->status_outside = v;
		hosted_poke(h, HOSTED_NIC_GVA + where[i], 0x5a5a5a5a);
		h->outside_writes++;
	}
	h->outside_written += h->nic.writes - writes;
}

/* The same while the driver waits in one of its call-outs, now and then. */
static bool look_during_callout(struct hosted *h, const char *import, uint64_t *answer, void *arg)
{
	uint64_t *n = arg;

	(void)import;
	(void)answer;
	if (++*n % LOOK_EVERY || h->in_look)
		return false;
	h->in_look = true;
	h->outside_reads++;
	h->outside_ones += hosted_peek(h, HOSTED_NIC_GVA + NIC_REG_STATUS) == 0xffffffff;
	h->in_look = false;
	return false;
}

void hosted_story(struct hosted *h, void *arg)
{
	uint64_t callouts = 0;

	(void)arg;
	h->on_callout = look_during_callout;
	h->hook_arg = &callouts;
	if (hosted_bring_up(h)) {
		hosted_idle(h, SETTLE_MS);
		hosted_send(h);
		hosted_stats(h);
		hosted_ethtool(h);
		look_from_outside(h);
		hosted_idle(h, SETTLE_MS);
	} else {
		look_from_outside(h);
	}
	hosted_take_down(h);
	h->on_callout = NULL;
	hosted_console(h, "\n");
}
