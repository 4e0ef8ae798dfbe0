// SPDX-License-Identifier: GPL-2.0-only
/* Network devices, polling and packet buffers, as far as an Ethernet driver looks into them. */
#include <string.h>

#include "hosted/kernel.h"

#define SKB_MAX_BYTES 0x10000u
#define NAPI_BUDGET 64u
#define NAPI_ROUNDS 4

static void list_init(struct hosted *h, uint64_t head)
{
	hosted_put(h, head, 8, head);
	hosted_put(h, head + 8, 8, head);
}

static void state_bit(struct hosted *h, uint64_t at, unsigned bit, bool on)
{
	uint64_t v = hosted_get(h, at, 8);

	hosted_put(h, at, 8, on ? v | 1ull << (bit & 63) : v & ~(1ull << (bit & 63)));
}

static bool test_bit(struct hosted *h, uint64_t at, unsigned bit)
{
	return hosted_get(h, at, 8) >> (bit & 63) & 1;
}

/* ---- devices ---- */

/* (private bytes, transmit queues, receive queues) */
static uint64_t alloc_etherdev(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t align = o->net_device_align ? o->net_device_align : 1, n = a[1] & 0xffff;
	uint64_t priv = (o->net_device_size + align - 1) / align * align;
	uint64_t dev, queues, addr;

	if ((a[0] & 0xffffffff) > 1u << 20)
		return 0;
	dev = hosted_alloc_pages(h, priv + (a[0] & 0xffffffff));
	queues = hosted_alloc(h, (n ? n : 1) * o->netdev_queue_size);
	addr = hosted_alloc(h, 32);
	if (!dev || !queues || !addr)
		return 0;
	list_init(h, dev + o->net_device_uc_list);
	list_init(h, dev + o->net_device_mc_list);
	list_init(h, dev + o->net_device_napi_list);
	hosted_write(h, dev + o->net_device_name, "eth%d", 6);
	hosted_put(h, dev + o->net_device_tx, 8, queues);
	hosted_put(h, dev + o->net_device_num_tx, 4, n);
	hosted_put(h, dev + o->net_device_real_num_tx, 4, n);
	hosted_put(h, dev + o->net_device_dev_addr, 8, addr);
	hosted_put(h, dev + o->net_device_addr_len, 1, 6);
	hosted_put(h, dev + o->net_device_mtu, 4, 1500);
	for (uint64_t i = 0; i < n; i++)
		hosted_put(h, queues + i * o->netdev_queue_size + o->netdev_queue_dev, 8, dev);
	h->netdev = dev;
	return dev;
}

static uint64_t free_netdev(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;

	hosted_free(h, hosted_get(h, a[0] + o->net_device_tx, 8));
	hosted_free(h, hosted_get(h, a[0] + o->net_device_dev_addr, 8));
	hosted_free(h, a[0]);
	if (h->netdev == a[0])
		h->netdev = 0;
	memset(h->napi, 0, sizeof(h->napi));
	return 0;
}

/* Asks the driver what it makes of its features, as Linux does on registration. */
static uint64_t register_netdev(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t ops = hosted_get(h, a[0] + o->net_device_netdev_ops, 8), fix;

	if (!ops)
		return (uint64_t)-22; /* EINVAL */
	fix = hosted_get(h, ops + o->ndo_fix_features, 8);
	if (fix)
		hosted_call(h, fix, a[0], 0, 0, 0);
	hosted_write(h, a[0] + o->net_device_name, "eth0", 5);
	hosted_put(h, a[0] + o->net_device_reg_state, 1, o->net_reg_registered);
	state_bit(h, a[0] + o->net_device_state, o->link_state_present, true);
	h->registered = true;
	return 0;
}

void hosted_net_stop(struct hosted *h)
{
	const struct offsets *o = &h->off;
	uint64_t ops, stop;

	if (!h->netdev || !h->up)
		return;
	ops = hosted_get(h, h->netdev + o->net_device_netdev_ops, 8);
	stop = hosted_get(h, ops + o->ndo_stop, 8);
	state_bit(h, h->netdev + o->net_device_state, o->link_state_start, false);
	if (stop)
		hosted_call(h, stop, h->netdev, 0, 0, 0);
	hosted_put(h, h->netdev + o->net_device_flags, 4,
		   hosted_get(h, h->netdev + o->net_device_flags, 4) & ~(uint64_t)o->iff_up);
	h->up = false;
}

static uint64_t unregister_netdev(struct hosted *h, const uint64_t *a)
{
	(void)a;
	hosted_net_stop(h);
	h->registered = false;
	return 0;
}

static uint64_t carrier_off(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.net_device_state, h->off.link_state_nocarrier, true);
	return 0;
}

static uint64_t carrier_on(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.net_device_state, h->off.link_state_nocarrier, false);
	return 0;
}

static uint64_t device_detach(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.net_device_state, h->off.link_state_present, false);
	return 0;
}

static uint64_t device_attach(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.net_device_state, h->off.link_state_present, true);
	return 0;
}

static uint64_t get_link(struct hosted *h, const uint64_t *a)
{
	return !test_bit(h, a[0] + h->off.net_device_state, h->off.link_state_nocarrier);
}

/* (device, offset, bytes, length) */
static uint64_t dev_addr_mod(struct hosted *h, const uint64_t *a)
{
	uint64_t to = hosted_get(h, a[0] + h->off.net_device_dev_addr, 8);
	uint8_t addr[32];

	if ((a[1] & 0xffffffff) + a[3] <= sizeof(addr) && hosted_read(h, a[2], addr, a[3]))
		hosted_write(h, to + (a[1] & 0xffffffff), addr, a[3]);
	return 0;
}

/* (device, storage): the driver's own statistics */
static uint64_t get_stats(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t ops = hosted_get(h, a[0] + o->net_device_netdev_ops, 8);
	uint64_t fn = ops ? hosted_get(h, ops + o->ndo_get_stats64, 8) : 0;

	hosted_fill(h, a[1], 0, o->rtnl_link_stats64_size);
	if (fn)
		hosted_call(h, fn, a[0], a[1], 0, 0);
	return a[1];
}

static uint64_t rss_key(struct hosted *h, const uint64_t *a)
{
	hosted_fill(h, a[0], 0x5a, a[1] < 256 ? a[1] : 256);
	return 0;
}

/* ---- polling ---- */

/* (device, napi, poll, weight): starts disabled */
static uint64_t napi_add(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;

	hosted_put(h, a[1] + o->napi_poll, 8, a[2]);
	hosted_put(h, a[1] + o->napi_weight, 4, a[3]);
	hosted_put(h, a[1] + o->napi_dev, 8, a[0]);
	state_bit(h, a[1] + o->napi_state, o->napi_state_sched, true);
	for (unsigned i = 0; i < HOSTED_MAX_NAPIS; i++) {
		if (!h->napi[i]) {
			h->napi[i] = a[1];
			break;
		}
	}
	return 0;
}

static uint64_t napi_enable(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.napi_state, h->off.napi_state_sched, false);
	return 0;
}

static uint64_t napi_disable(struct hosted *h, const uint64_t *a)
{
	state_bit(h, a[0] + h->off.napi_state, h->off.napi_state_sched, true);
	for (unsigned i = 0; i < HOSTED_MAX_NAPIS; i++)
		if (h->napi[i] == a[0])
			h->napi_queued &= ~(1u << i);
	return 0;
}

static uint64_t napi_schedule_prep(struct hosted *h, const uint64_t *a)
{
	if (test_bit(h, a[0] + h->off.napi_state, h->off.napi_state_sched))
		return 0;
	state_bit(h, a[0] + h->off.napi_state, h->off.napi_state_sched, true);
	return 1;
}

static uint64_t napi_schedule(struct hosted *h, const uint64_t *a)
{
	for (unsigned i = 0; i < HOSTED_MAX_NAPIS; i++)
		if (h->napi[i] == a[0])
			h->napi_queued |= 1u << i;
	return 0;
}

static uint64_t napi_complete(struct hosted *h, const uint64_t *a)
{
	napi_enable(h, a);
	return 1;
}

void hosted_napi_poll(struct hosted *h)
{
	for (int round = 0; round < NAPI_ROUNDS && h->napi_queued && !h->dead; round++) {
		uint32_t queued = h->napi_queued;

		h->napi_queued = 0;
		for (unsigned i = 0; i < HOSTED_MAX_NAPIS; i++) {
			uint64_t napi = h->napi[i];

			if (!(queued & 1u << i) || !napi)
				continue;
			if (hosted_call(h, hosted_get(h, napi + h->off.napi_poll, 8), napi,
					NAPI_BUDGET, 0, 0) == NAPI_BUDGET)
				h->napi_queued |= 1u << i;
		}
	}
}

/* ---- packet buffers ---- */

uint64_t hosted_skb(struct hosted *h, uint32_t size)
{
	const struct offsets *o = &h->off;
	uint32_t room = (size + o->net_skb_pad + 63) & ~63u;
	uint64_t skb, head;

	if (size > SKB_MAX_BYTES)
		return 0;
	skb = hosted_alloc(h, o->skb_size);
	head = hosted_alloc(h, room + o->skb_shared_info_size);
	if (!skb || !head)
		return 0;
	hosted_put(h, skb + o->skb_head, 8, head);
	hosted_put(h, skb + o->skb_data, 8, head + o->net_skb_pad);
	hosted_put(h, skb + o->skb_tail, 4, o->net_skb_pad);
	hosted_put(h, skb + o->skb_end, 4, room);
	hosted_put(h, skb + o->skb_users, 4, 1);
	hosted_put(h, skb + o->skb_truesize, 4, o->skb_size + room + o->skb_shared_info_size);
	return skb;
}

static uint64_t alloc_skb(struct hosted *h, const uint64_t *a)
{
	return hosted_skb(h, (uint32_t)a[0]);
}

/* (device, length, flags) */
static uint64_t netdev_alloc_skb(struct hosted *h, const uint64_t *a)
{
	uint64_t skb = hosted_skb(h, (uint32_t)a[1]);

	if (skb)
		hosted_put(h, skb + h->off.skb_dev, 8, a[0]);
	return skb;
}

/* (napi, length, flags) */
static uint64_t napi_alloc_skb(struct hosted *h, const uint64_t *a)
{
	const uint64_t args[2] = { hosted_get(h, a[0] + h->off.napi_dev, 8), a[1] };

	return netdev_alloc_skb(h, args);
}

static uint64_t free_skb(struct hosted *h, const uint64_t *a)
{
	if (!a[0])
		return 0;
	hosted_free(h, hosted_get(h, a[0] + h->off.skb_head, 8));
	hosted_free(h, a[0]);
	return 0;
}

/* (skb, n) -> where the n bytes go */
static uint64_t skb_put(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t head = hosted_get(h, a[0] + o->skb_head, 8);
	uint64_t tail = hosted_get(h, a[0] + o->skb_tail, 4);

	hosted_put(h, a[0] + o->skb_tail, 4, tail + (a[1] & 0xffffffff));
	hosted_put(h, a[0] + o->skb_len, 4,
		   hosted_get(h, a[0] + o->skb_len, 4) + (a[1] & 0xffffffff));
	return head + tail;
}

static uint64_t skb_trim(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t len = hosted_get(h, a[0] + o->skb_len, 4);
	uint64_t tail = hosted_get(h, a[0] + o->skb_tail, 4);

	if ((a[1] & 0xffffffff) < len) {
		hosted_put(h, a[0] + o->skb_len, 4, a[1]);
		hosted_put(h, a[0] + o->skb_tail, 4, tail - (len - (a[1] & 0xffffffff)));
	}
	return 0;
}

/* (skb, pad, free on error): zeroes behind the data, which hosted_skb() leaves zero */
static uint64_t skb_pad(struct hosted *h, const uint64_t *a)
{
	(void)h;
	(void)a;
	return 0;
}

/* (skb, device) -> protocol, in network order */
static uint64_t eth_type_trans(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t data = hosted_get(h, a[0] + o->skb_data, 8);

	hosted_put(h, a[0] + o->skb_dev, 8, a[1]);
	hosted_put(h, a[0] + o->skb_data, 8, data + o->eth_hlen);
	hosted_put(h, a[0] + o->skb_len, 4, hosted_get(h, a[0] + o->skb_len, 4) - o->eth_hlen);
	return hosted_get(h, data + o->eth_hlen - 2, 2);
}

/* (napi, skb): arrived; the bytes are compared with what was sent in story.c */
static uint64_t gro_receive(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t len = hosted_get(h, a[1] + o->skb_len, 4);
	uint64_t data = hosted_get(h, a[1] + o->skb_data, 8);

	h->packets++;
	h->packet_len = len < sizeof(h->packet) ? (uint32_t)len : (uint32_t)sizeof(h->packet);
	hosted_read(h, data, h->packet, h->packet_len);
	return free_skb(h, &a[1]);
}

/* ---- ethtool helpers: the first 32 link modes, which are all that there were once ---- */

static uint64_t legacy_to_modes(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0], 8, a[1] & 0xffffffff);
	hosted_put(h, a[0] + 8, 8, 0);
	return 0;
}

static uint64_t modes_to_legacy(struct hosted *h, const uint64_t *a)
{
	uint64_t modes = hosted_get(h, a[1], 8);

	hosted_put(h, a[0], 4, modes);
	return !(modes >> 32);
}

/* ---- clocks that others may use: registered, never called ---- */

static uint64_t ptp_register(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return hosted_alloc(h, 64);
}

static uint64_t ptp_unregister(struct hosted *h, const uint64_t *a)
{
	hosted_free(h, a[0]);
	return 0;
}

const struct hosted_symbol hosted_net_symbols[] = {
	{ "alloc_etherdev_mqs", alloc_etherdev },
	{ "free_netdev", free_netdev },
	{ "register_netdev", register_netdev },
	{ "unregister_netdev", unregister_netdev },
	{ "netif_carrier_on", carrier_on },
	{ "netif_carrier_off", carrier_off },
	{ "netif_device_attach", device_attach },
	{ "netif_device_detach", device_detach },
	{ "netif_schedule_queue", hosted_zero },
	{ "netif_tx_wake_queue", hosted_zero },
	{ "ethtool_op_get_link", get_link },
	{ "ethtool_op_get_ts_info", hosted_zero },
	{ "ethtool_convert_legacy_u32_to_link_mode", legacy_to_modes },
	{ "ethtool_convert_link_mode_to_legacy_u32", modes_to_legacy },
	{ "passthru_features_check", hosted_zero },
	{ "dev_addr_mod", dev_addr_mod },
	{ "dev_get_stats", get_stats },
	{ "dev_trans_start", hosted_zero },
	{ "eth_validate_addr", hosted_zero },
	{ "eth_type_trans", eth_type_trans },
	{ "netdev_rss_key_fill", rss_key },
	{ "netif_napi_add_weight", napi_add },
	{ "napi_enable", napi_enable },
	{ "napi_disable", napi_disable },
	{ "napi_schedule_prep", napi_schedule_prep },
	{ "__napi_schedule", napi_schedule },
	{ "napi_complete_done", napi_complete },
	{ "napi_gro_receive", gro_receive },
	{ "__alloc_skb", alloc_skb },
	{ "__netdev_alloc_skb", netdev_alloc_skb },
	{ "__napi_alloc_skb", napi_alloc_skb },
	{ "__dev_kfree_skb_any", free_skb },
	{ "__dev_kfree_skb_irq", free_skb },
	{ "consume_skb", free_skb },
	{ "kfree_skb_reason", free_skb },
	{ "skb_put", skb_put },
	{ "skb_trim", skb_trim },
	{ "__skb_pad", skb_pad },
	{ "dql_completed", hosted_zero },
	{ "dql_reset", hosted_zero },
	{ "ptp_clock_register", ptp_register },
	{ "ptp_clock_unregister", ptp_unregister },
	{ "ptp_clock_index", hosted_zero },
	{ NULL, NULL },
};
