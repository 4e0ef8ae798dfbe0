// SPDX-License-Identifier: GPL-2.0-only
/* Parts of the hosted kernel that need no guest: the card's registers, the heap, offsets, image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hosted/guest_code.h"
#include "hosted/heap.h"
#include "hosted/image.h"
#include "hosted/nic.h"
#include "hosted/offsets.h"
#include "vmm/abi.h"

/* ---- the card ---- */

static struct nic nic;

static uint16_t eeprom(uint32_t word)
{
	nic_write(&nic, 0x14, 4, word << 2 | 1);
	return (uint16_t)(nic_read(&nic, 0x14, 4) >> 16);
}

static void eeprom_has_a_valid_sum(void **state)
{
	uint16_t sum = 0;

	(void)state;
	nic_reset(&nic);
	for (uint32_t i = 0; i < NIC_NVM_WORDS; i++)
		sum = (uint16_t)(sum + eeprom(i));
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(eeprom(NIC_NVM_WORDS), 0xffff);
}

static void phy_answers_at_its_address_only(void **state)
{
	(void)state;
	nic_reset(&nic);
	nic_write(&nic, 0x20, 4, 0x08000000 | 1u << 21 | 2u << 16);
	assert_int_equal(nic_read(&nic, 0x20, 4) & 0x1000ffff, 0x10000141);
	nic_write(&nic, 0x20, 4, 0x08000000 | 2u << 21 | 2u << 16);
	assert_true(nic_read(&nic, 0x20, 4) & 0x40000000);
}

static void interrupt_cause_is_cleared_by_reading(void **state)
{
	(void)state;
	nic_reset(&nic);
	nic_write(&nic, 0xc8, 4, 8);
	assert_false(nic_irq(&nic));
	nic_write(&nic, 0xd0, 4, 8);
	assert_true(nic_irq(&nic));
	assert_int_equal(nic_read(&nic, 0xc0, 4), 0x80000008);
	assert_false(nic_irq(&nic));
	assert_int_equal(nic_read(&nic, 0xc0, 4), 0);
}

static void odd_accesses_stay_inside(void **state)
{
	(void)state;
	nic_reset(&nic);
	assert_int_equal(nic_read(&nic, NIC_BYTES, 4), ~0ull);
	assert_int_equal(nic_read(&nic, NIC_BYTES - 4, 8), 0);
	nic_write(&nic, NIC_BYTES, 4, 1);
	nic_write(&nic, NIC_REG_CTRL + 1, 4, 1);
	nic_write(&nic, NIC_REG_CTRL, 2, 1);
	assert_int_equal(nic.writes, 0);
}

static uint8_t dma_memory[0x4000];

static bool dma_read(void *ctx, uint64_t gpa, void *buf, uint32_t len)
{
	(void)ctx;
	if (gpa > sizeof(dma_memory) || len > sizeof(dma_memory) - gpa)
		return false;
	memcpy(buf, dma_memory + gpa, len);
	return true;
}

static bool dma_write(void *ctx, uint64_t gpa, const void *buf, uint32_t len)
{
	(void)ctx;
	if (gpa > sizeof(dma_memory) || len > sizeof(dma_memory) - gpa)
		return false;
	memcpy(dma_memory + gpa, buf, len);
	return true;
}

static const struct nic_dma dma = { dma_read, dma_write, NULL };

/* Rings of 8: transmit at 0, receive at 0x100; a frame at 0x1000, its buffer at 0x2000. */
static void rings(uint64_t frame, uint16_t len, uint8_t command)
{
	const uint64_t buffer = 0x2000;

	nic_reset(&nic);
	memset(dma_memory, 0, sizeof(dma_memory));
	memset(dma_memory + 0x1000, 0xa5, 64);
	memcpy(dma_memory, &frame, 8);
	memcpy(dma_memory + 8, &len, 2);
	dma_memory[11] = command;
	memcpy(dma_memory + 0x100, &buffer, 8);
	nic_write(&nic, 0x3808, 4, 8 * 16);
	nic_write(&nic, 0x2800, 4, 0x100);
	nic_write(&nic, 0x2808, 4, 8 * 16);
	nic_write(&nic, 0x2818, 4, 7);
	nic_write(&nic, 0x100, 4, 2);
}

static void what_is_sent_comes_back(void **state)
{
	(void)state;
	rings(0x1000, 64, 1);
	nic_write(&nic, 0x3818, 4, 1);
	nic_run_rings(&nic, &dma);
	assert_int_equal(nic.sent, 1);
	assert_int_equal(nic.received, 1);
	assert_int_equal(dma_memory[12] & 1, 1);
	assert_int_equal(dma_memory[0x100 + 8], 68);
	assert_memory_equal(dma_memory + 0x2000, dma_memory + 0x1000, 64);
}

static void bad_rings_end(void **state)
{
	(void)state;
	rings(0x1000, 64, 1);
	nic_write(&nic, 0x3818, 4, 9); /* tail outside of the ring */
	nic_run_rings(&nic, &dma);
	assert_int_equal(nic.sent, 0);
	rings(0x123456789000, 64, 1); /* not memory */
	nic_write(&nic, 0x3818, 4, 1);
	nic_run_rings(&nic, &dma);
	assert_int_equal(nic.sent, 0);
	rings(0x1000, 0xffff, 1); /* longer than any frame */
	nic_write(&nic, 0x3818, 4, 1);
	nic_run_rings(&nic, &dma);
	assert_int_equal(nic.sent, 0);
}

/* ---- the heap ---- */

static void heap_gives_back_what_was_freed(void **state)
{
	struct heap h;
	uint64_t a, b;

	(void)state;
	assert_true(heap_init(&h, 0x1000, 0x4000));
	a = heap_alloc(&h, 100, 64);
	b = heap_alloc(&h, 0x1000, 4096);
	assert_int_equal(a, 0x1000);
	assert_int_equal(b & 4095, 0);
	assert_int_equal(heap_size(&h, a), 128);
	assert_true(heap_free(&h, a));
	assert_false(heap_free(&h, a));
	assert_false(heap_free(&h, a + 8));
	assert_int_equal(heap_alloc(&h, 90, 64), a);
	assert_int_equal(heap_alloc(&h, 0x4000, 64), 0);
	assert_int_equal(heap_alloc(&h, ~0ull, 64), 0);
	assert_int_equal(h.live, 2);
	heap_destroy(&h);
}

/* ---- offsets ---- */

static bool load(const char *text, struct error *err)
{
	static struct offsets off;
	char path[] = "/tmp/hosted-offsets.XXXXXX";
	int fd = mkstemp(path);
	bool ok;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	ok = offsets_load(&off, path, "module.ko", err);
	unlink(path);
	return ok;
}

static void bad_offsets_are_named(void **state)
{
	struct error err;

	(void)state;
	assert_false(load("", &err));
	assert_non_null(strstr(err.text, "no \"release\" line"));
	assert_false(load("release 6.1\npci_dev_irq\n", &err));
	assert_non_null(strstr(err.text, "offset 0xc"));
	assert_false(load("release 6.1\npci_dev_irq x\n", &err));
	assert_non_null(strstr(err.text, "pci_dev_irq: not a number"));
	assert_false(load("release 6.1\npci_dev_irq 65537\n", &err));
	assert_false(load("release 6.1\npci_dev_bus 16\n", &err));
	assert_non_null(strstr(err.text, "lacks pci_dev_devfn"));
}

/* ---- the image ---- */

static void image_is_an_elf_file_of_its_imports(void **state)
{
	struct image_import imports[] = { { "kmalloc", 0, false },
					  { "jiffies", 0, true },
					  { "kfree", 0, false } };
	static const uint8_t stub[] = { 0xe6, 0xf8, 0x65, 0xff, 0x24, 0x25, 0, 8, 0, 0 };
	struct image img = { 0 };
	struct error err;
	const Elf64_Ehdr *eh;
	const Elf64_Phdr *ph;

	(void)state;
	assert_true(image_build(&img, imports, 3, GM_X_OUT, &err));
	eh = (const void *)img.elf.data;
	ph = (const void *)(img.elf.data + eh->e_phoff);
	assert_memory_equal(eh->e_ident, ELFMAG, SELFMAG);
	assert_int_equal(eh->e_entry, image_code(guest_boot));
	assert_int_equal(imports[0].gva, IMAGE_IMPORTS);
	assert_int_equal(imports[2].gva, IMAGE_IMPORTS + IMAGE_STUB_BYTES);
	assert_in_range(imports[1].gva, img.data, img.data + img.data_bytes - 8);
	assert_memory_equal(img.elf.data + ph->p_offset + (imports[2].gva - ph->p_vaddr), stub,
			    sizeof(stub));
	assert_true(ph[1].p_offset + ph[1].p_filesz <= img.elf.size);
	assert_true(eh->e_shoff + eh->e_shnum * sizeof(Elf64_Shdr) <= img.elf.size);
	blob_free(&img.elf);
}

static void long_import_names_are_refused(void **state)
{
	char name[100];
	struct image_import import = { name, 0, false };
	struct image img = { 0 };
	struct error err;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_false(image_build(&img, &import, 1, GM_X_OUT, &err));
	assert_non_null(strstr(err.text, "longer than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eeprom_has_a_valid_sum),
		cmocka_unit_test(phy_answers_at_its_address_only),
		cmocka_unit_test(interrupt_cause_is_cleared_by_reading),
		cmocka_unit_test(odd_accesses_stay_inside),
		cmocka_unit_test(what_is_sent_comes_back),
		cmocka_unit_test(bad_rings_end),
		cmocka_unit_test(heap_gives_back_what_was_freed),
		cmocka_unit_test(bad_offsets_are_named),
		cmocka_unit_test(image_is_an_elf_file_of_its_imports),
		cmocka_unit_test(long_import_names_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
