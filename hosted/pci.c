// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI, DMA and power management: one card in one slot. A driver that registers and knows the card
 * is probed at once, from inside its registration, as on a machine that has booted.
 */
#include <string.h>

#include "hosted/kernel.h"

#define BARS 6u
#define ANY_ID 0xffffffffu
#define CONFIG_PCIE 0xe0u /* where the PCI Express capability lies */
#define PCIE_LINK_STATUS 0x12u
#define PCIE_LINK_X1_2G5 0x0011u
#define FIRST_IRQ 16u
#define MAX_IDS 4096u
#define ENOSPC 28

static void config_put(struct hosted *h, unsigned at, uint16_t v)
{
	memcpy(h->config + at, &v, 2);
}

bool hosted_pci_init(struct hosted *h)
{
	const struct offsets *o = &h->off;
	static const char name[] = "0000:00:03.0";
	uint64_t text, bridge;

	h->pdev = hosted_alloc(h, o->pci_dev_size);
	h->bus = hosted_alloc(h, o->pci_bus_size);
	text = hosted_alloc(h, sizeof(name));
	bridge = hosted_alloc(h, o->device_size);
	if (!h->pdev || !h->bus || !text || !bridge)
		return false;
	hosted_write(h, text, name, sizeof(name));
	hosted_put(h, h->pdev + o->pci_dev_bus, 8, h->bus);
	hosted_put(h, h->pdev + o->pci_dev_devfn, 4, 3 << 3);
	hosted_put(h, h->pdev + o->pci_dev_vendor, 2, NIC_VENDOR);
	hosted_put(h, h->pdev + o->pci_dev_device, 2, NIC_DEVICE);
	hosted_put(h, h->pdev + o->pci_dev_subvendor, 2, NIC_VENDOR);
	hosted_put(h, h->pdev + o->pci_dev_class, 4, 0x020000);
	hosted_put(h, h->pdev + o->pci_dev_irq, 4, FIRST_IRQ);
	hosted_put(h, h->pdev + o->pci_dev_pcie_cap, 1, CONFIG_PCIE);
	hosted_put(h, h->pdev + o->pci_dev_error_state, 4, 1); /* normal */
	hosted_put(h, h->pdev + o->pci_dev_resource + o->resource_start, 8, HOSTED_NIC_GPA);
	hosted_put(h, h->pdev + o->pci_dev_resource + o->resource_end, 8,
		   HOSTED_NIC_GPA + NIC_BYTES - 1);
	hosted_put(h, h->pdev + o->pci_dev_resource + o->resource_flags, 8, o->ioresource_mem);
	hosted_put(h, h->pdev + o->pci_dev_resource + o->resource_name, 8, text);
	hosted_put(h, h->pdev + o->pci_dev_dev + o->device_init_name, 8, text);
	hosted_put(h, h->pdev + o->pci_dev_dev + o->device_parent, 8, bridge);
	hosted_put(h, h->pdev + o->pci_dev_dev + o->device_dma_mask, 8,
		   h->pdev + o->pci_dev_dma_mask);
	h->next_irq = FIRST_IRQ + 1;
	config_put(h, 0, NIC_VENDOR);
	config_put(h, 2, NIC_DEVICE);
	config_put(h, CONFIG_PCIE, 0x0010);
	config_put(h, CONFIG_PCIE + PCIE_LINK_STATUS, PCIE_LINK_X1_2G5);
	return true;
}

/* ---- drivers ---- */

/* The entry of the driver's table for our card; or its first, and the card poses as that. */
static uint64_t match(struct hosted *h, uint64_t driver)
{
	const struct offsets *o = &h->off;
	uint64_t table = hosted_get(h, driver + o->pci_driver_id_table, 8), id = table;
	uint32_t vendor, device;

	for (unsigned i = 0; table && i < MAX_IDS; i++, id += o->pci_device_id_size) {
		vendor = (uint32_t)hosted_get(h, id + o->pci_device_id_vendor, 4);
		device = (uint32_t)hosted_get(h, id + o->pci_device_id_device, 4);
		if (!vendor && !device)
			break;
		if (vendor == NIC_VENDOR && (device == NIC_DEVICE || device == ANY_ID))
			return id;
	}
	if (!table || !hosted_get(h, table + o->pci_device_id_vendor, 4))
		return 0;
	vendor = (uint32_t)hosted_get(h, table + o->pci_device_id_vendor, 4);
	device = (uint32_t)hosted_get(h, table + o->pci_device_id_device, 4);
	hosted_printf(
		h, "hosted kernel: this driver is not for %04x:%04x, the card poses as %04x:%04x\n",
		NIC_VENDOR, NIC_DEVICE, vendor & 0xffff, device & 0xffff);
	hosted_put(h, h->pdev + o->pci_dev_vendor, 2, vendor & 0xffff);
	hosted_put(h, h->pdev + o->pci_dev_device, 2, device & 0xffff);
	return table;
}

static uint64_t register_driver(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t id = match(h, a[0]);

	if (!id) {
		hosted_printf(h, "hosted kernel: this driver has no table of devices\n");
		return 0;
	}
	h->driver = a[0];
	hosted_put(h, h->pdev + o->pci_dev_driver, 8, a[0]);
	h->probe_called = true;
	h->probe_result = (int32_t)hosted_call(h, hosted_get(h, a[0] + o->pci_driver_probe, 8),
					       h->pdev, id, 0, 0);
	if (h->probe_result)
		hosted_put(h, h->pdev + o->pci_dev_driver, 8, 0);
	return 0;
}

static uint64_t unregister_driver(struct hosted *h, const uint64_t *a)
{
	uint64_t remove = hosted_get(h, a[0] + h->off.pci_driver_remove, 8);

	if (h->driver == a[0] && h->probe_called && !h->probe_result && remove)
		hosted_call(h, remove, h->pdev, 0, 0, 0);
	h->driver = 0;
	return 0;
}

static uint64_t driver_string(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return h->driver ? hosted_get(h, h->driver + h->off.pci_driver_name, 8) : 0;
}

/* ---- configuration space and resources ---- */

static uint64_t select_bars(struct hosted *h, const uint64_t *a)
{
	const struct offsets *o = &h->off;
	uint64_t mask = 0;

	for (unsigned i = 0; i < BARS; i++)
		if (hosted_get(h,
			       a[0] + o->pci_dev_resource + i * o->resource_size +
				       o->resource_flags,
			       8) &
		    a[1])
			mask |= 1u << i;
	return mask;
}

static uint64_t config_read(struct hosted *h, uint64_t at, uint64_t to)
{
	uint16_t v = 0xffff;

	if (at + 2 <= sizeof(h->config))
		memcpy(&v, h->config + at, 2);
	hosted_put(h, to, 2, v);
	return 0;
}

static uint64_t read_config_word(struct hosted *h, const uint64_t *a)
{
	return config_read(h, a[1] & 0xffffffff, a[2]);
}

static uint64_t read_pcie_word(struct hosted *h, const uint64_t *a)
{
	return config_read(h, CONFIG_PCIE + (a[1] & 0xffffffff), a[2]);
}

static uint64_t write_config_word(struct hosted *h, const uint64_t *a)
{
	if ((a[1] & 0xffffffff) == 4) /* the command register; nothing else moves */
		config_put(h, 4, (uint16_t)a[2]);
	return 0;
}

/* Device memory is in the direct map, as all of the guest's physical space that is used. */
static uint64_t ioremap(struct hosted *h, const uint64_t *a)
{
	if (a[0] >= HOSTED_NIC_GPA && a[0] - HOSTED_NIC_GPA < NIC_BYTES &&
	    a[1] <= NIC_BYTES - (a[0] - HOSTED_NIC_GPA))
		return GH_DIRECT_MAP + a[0];
	hosted_printf(h, "hosted kernel: no device at 0x%llx\n", (unsigned long long)a[0]);
	return 0;
}

static uint64_t ioremap_bar(struct hosted *h, const uint64_t *a)
{
	const uint64_t args[2] = { HOSTED_NIC_GPA, NIC_BYTES };

	return a[1] ? 0 : ioremap(h, args);
}

static uint64_t enable_msi(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0] + h->off.pci_dev_irq, 4, h->next_irq++);
	return 0;
}

static uint64_t disable_msi(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0] + h->off.pci_dev_irq, 4, FIRST_IRQ);
	return 0;
}

static uint64_t no_msix(struct hosted *h, const uint64_t *a)
{
	(void)h;
	(void)a;
	return (uint64_t)-ENOSPC;
}

/* ---- DMA: no IOMMU, bus addresses are guest-physical ---- */

/* (device, size, handle, flags, attributes) */
static uint64_t dma_alloc(struct hosted *h, const uint64_t *a)
{
	uint64_t gva = hosted_alloc_pages(h, a[1]);

	if (gva)
		hosted_put(h, a[2], 8, gva - GH_DIRECT_MAP);
	return gva;
}

/* (device, size, address, handle, attributes) */
static uint64_t dma_free(struct hosted *h, const uint64_t *a)
{
	hosted_free(h, a[2]);
	return 0;
}

/* (device, page, offset, size, direction, attributes) */
static uint64_t dma_map_page(struct hosted *h, const uint64_t *a)
{
	return (a[1] - HOSTED_VMEMMAP) / h->off.page_size * 4096 + a[2];
}

const struct hosted_symbol hosted_pci_symbols[] = {
	{ "__pci_register_driver", register_driver },
	{ "pci_unregister_driver", unregister_driver },
	{ "dev_driver_string", driver_string },
	{ "pci_enable_device", hosted_zero },
	{ "pci_enable_device_mem", hosted_zero },
	{ "pcim_enable_device", hosted_zero },
	{ "pci_disable_device", hosted_zero },
	{ "pci_select_bars", select_bars },
	{ "pci_request_regions", hosted_zero },
	{ "pci_request_selected_regions", hosted_zero },
	{ "pci_request_selected_regions_exclusive", hosted_zero },
	{ "pci_release_regions", hosted_zero },
	{ "pci_release_selected_regions", hosted_zero },
	{ "pci_set_master", hosted_zero },
	{ "pci_clear_master", hosted_zero },
	{ "pci_save_state", hosted_zero },
	{ "pci_restore_state", hosted_zero },
	{ "pci_read_config_word", read_config_word },
	{ "pci_write_config_word", write_config_word },
	{ "pcie_capability_read_word", read_pcie_word },
	{ "pcie_capability_write_word", hosted_zero },
	{ "pcie_capability_clear_and_set_word_locked", hosted_zero },
	{ "pci_disable_link_state", hosted_zero },
	{ "pci_disable_link_state_locked", hosted_zero },
	{ "pci_enable_pcie_error_reporting", hosted_zero },
	{ "pci_disable_pcie_error_reporting", hosted_zero },
	{ "pci_enable_msi", enable_msi },
	{ "pci_disable_msi", disable_msi },
	{ "pci_enable_msix_range", no_msix },
	{ "pci_disable_msix", hosted_zero },
	{ "pci_enable_wake", hosted_zero },
	{ "pci_dev_run_wake", hosted_zero },
	{ "pci_ioremap_bar", ioremap_bar },
	{ "ioremap", ioremap },
	{ "iounmap", hosted_zero },
	{ "dma_set_mask", hosted_zero },
	{ "dma_set_coherent_mask", hosted_zero },
	{ "dma_alloc_attrs", dma_alloc },
	{ "dma_free_attrs", dma_free },
	{ "dma_map_page_attrs", dma_map_page },
	{ "dma_unmap_page_attrs", hosted_zero },
	{ "dma_sync_single_for_cpu", hosted_zero },
	{ "dma_sync_single_for_device", hosted_zero },
	{ "device_set_wakeup_enable", hosted_zero },
	{ "device_wakeup_enable", hosted_zero },
	{ "__pm_runtime_idle", hosted_zero },
	{ "__pm_runtime_resume", hosted_zero },
	{ "pm_schedule_suspend", hosted_zero },
	{ "cpu_latency_qos_add_request", hosted_zero },
	{ "cpu_latency_qos_update_request", hosted_zero },
	{ "cpu_latency_qos_remove_request", hosted_zero },
	{ NULL, NULL },
};
