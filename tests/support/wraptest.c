/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/wraptest.h"

#include <unistd.h>

const char wt_sample[] =
	"typedef unsigned long u64;\n"
	"extern long out1(long), out8(long, long, long, long, long, long, long, long);\n"
	"extern int say(const char *fmt, ...);\n"
	"extern long shared;\n"
	"static u64 secret __attribute__((section(\".guard_private\"))) = 0x1234567;\n"
	"static long __attribute__((noinline)) inner(long n) { return out1(n) + shared; }\n"
	"static long cb_one(long n) { return n + 1; }\n"
	"static long cb_two(long n) { return inner(n) * 2; }\n"
	"struct ops { long (*one)(long), (*two)(long), (*ext)(long); };\n"
	"static const struct ops ops = { cb_one, cb_two, out1 };\n"
	"static long (*volatile now)(long) = cb_two;\n"
	"const struct ops *get_ops(void) { return &ops; }\n"
	"long call_now(long n) { return now(n) + (long)secret; }\n"
	"long tail_now(long n) { return now(n); }\n"
	"long tail_out(long n) { return out1(n + 1); }\n"
	"long eight(long a) { return out8(a, 2, 3, 4, 5, 6, 7, 8) + a; }\n"
	"long taken(int w) { now = w ? cb_one : cb_two; return now == cb_one; }\n"
	"long vla(long n) { char b[n]; say(\"x\", b); return b[0]; }\n"
	"long aligned(long n) { char b[64] __attribute__((aligned(64))); say(\"x\", b, n); return b[0]; }\n"
	"long drap(long a, long b, long c, long d, long e, long f, long g, long h)\n"
	"{ char z[64] __attribute__((aligned(64))); say(\"x\", z, g, h); return z[0] + g + h + a; }\n"
	"long early(long a, long b) { if (!a) return 1; long c = out1(a);\n"
	"if (c == 5) return b + c; long d = out1(b) + c; return out1(d) * a + b; }\n"
	/* what compilers emit only now and then: states kept over an early exit, a realigned frame */
	"__asm__(\".text\\n.globl early2\\n.type early2, @function\\nearly2:\\n.cfi_startproc\\n\"\n"
	"\"push %rbp\\n.cfi_adjust_cfa_offset 8\\n.cfi_rel_offset rbp, 0\\n\"\n"
	"\"push %rbx\\n.cfi_adjust_cfa_offset 8\\n.cfi_rel_offset rbx, 0\\n\"\n"
	"\"test %edi, %edi\\njne 1f\\n.cfi_remember_state\\n\"\n"
	"\"pop %rbx\\n.cfi_adjust_cfa_offset -8\\n.cfi_restore rbx\\n\"\n"
	"\"pop %rbp\\n.cfi_adjust_cfa_offset -8\\n.cfi_restore rbp\\nret\\n\"\n"
	"\".cfi_restore_state\\n1: call out1\\npop %rbx\\n.cfi_adjust_cfa_offset -8\\n\"\n"
	"\"pop %rbp\\n.cfi_adjust_cfa_offset -8\\n.cfi_restore rbp\\nret\\n\"\n"
	"\".cfi_endproc\\n.size early2, .-early2\\n\"\n"
	"\".globl realigned\\n.type realigned, @function\\nrealigned:\\n.cfi_startproc\\n\"\n"
	"\"lea 8(%rsp), %r10\\n.cfi_def_cfa r10, 0\\nand $-32, %rsp\\npush -8(%r10)\\n\"\n"
	"\"push %rbp\\n.cfi_escape 0x10,6,2,0x76,0\\nmov %rsp, %rbp\\npush %r10\\n\"\n"
	"\".cfi_escape 0x0f,3,0x76,0x78,6\\ncall out1\\npop %r10\\n.cfi_def_cfa r10, 0\\n\"\n"
	"\"pop %rbp\\nlea -8(%r10), %rsp\\n.cfi_def_cfa rsp, 8\\nret\\n.cfi_endproc\\n\"\n"
	"\".size realigned, .-realigned\\n\");\n"
	"long big(long n) { char b[600]; say(\"x\", b, n); return inner(n) + b[1]; }\n"
	"__attribute__((section(\".init.text\"), noinline)) static long cb_early(long n) { return n; }\n"
	"__attribute__((section(\".init.text\"))) int init_module(void)\n"
	"{ return say(\"hi\", cb_early, cb_early(2)); }\n"
	"__attribute__((section(\".exit.text\"))) void cleanup_module(void) { secret = 0; }\n";

struct blob wt_compile(const char *source, const char *flags)
{
	char dir[] = "/tmp/wraptest.XXXXXX", path[64], command[1024];
	struct error err;
	struct blob b;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/m.c", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(source, f);
	fclose(f);
	snprintf(command, sizeof(command),
		 "${CC:-gcc} -O2 -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone "
		 "-mno-sse -fno-stack-protector -fasynchronous-unwind-tables -fcf-protection=none "
		 "%s -c %s/m.c -o %s/m.ko",
		 flags, dir, dir);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/m.ko", dir);
	if (!blob_read(&b, path, 1 << 24, &err))
		fail_msg("%s", err.text);
	unlink(path);
	snprintf(path, sizeof(path), "%s/m.c", dir);
	unlink(path);
	rmdir(dir);
	return b;
}

struct blob wt_e1000e(void)
{
	struct error err;
	struct blob b;

	if (access(WT_E1000E, R_OK) != 0) {
		printf("SKIP: no %s (make corpus-debian)\n", WT_E1000E);
		skip();
	}
	if (!blob_read(&b, WT_E1000E, 1 << 26, &err))
		fail_msg("%s", err.text);
	return b;
}

struct wrap_result wt_wrap(const struct blob *ko, enum gm_x_kind x)
{
	const struct wrap_options opt = { .name = "test", .x = x };
	struct wrap_result r;
	struct error err;

	if (!wrap_module(&opt, "test.ko", ko, &r, &err))
		fail_msg("refused: %s", err.text);
	return r;
}

void wt_refused(const struct blob *ko, const char *about)
{
	const struct wrap_options opt = { .name = "test" };
	struct wrap_result r;
	struct error err;

	if (wrap_module(&opt, "test.ko", ko, &r, &err))
		fail_msg("accepted, in spite of \"%s\"", about);
	assert_non_null(strstr(err.text, "test.ko: offset 0x"));
	if (!strstr(err.text, about))
		fail_msg("\"%s\" says nothing about \"%s\"", err.text, about);
}

const struct gm_header *wt_header(const struct wrap_result *r)
{
	return (const void *)r->manifest.data;
}

struct wt_elf wt_open(const struct blob *b)
{
	struct wt_elf e = { 0 };

	assert_int_not_equal(elf_version(EV_CURRENT), EV_NONE);
	e.elf = elf_memory((char *)b->data, b->size);
	assert_non_null(e.elf);
	assert_int_equal(elf_getshdrnum(e.elf, &e.nsections), 0);
	assert_int_equal(elf_getshdrstrndx(e.elf, &e.shstr), 0);
	for (size_t i = 1; i < e.nsections; i++)
		if (wt_shdr(&e, i)->sh_type == SHT_SYMTAB)
			e.symtab = i;
	assert_true(e.symtab);
	return e;
}

void wt_close(struct wt_elf *e)
{
	elf_end(e->elf);
}

const Elf64_Shdr *wt_shdr(const struct wt_elf *e, size_t i)
{
	const Elf64_Shdr *s = elf64_getshdr(elf_getscn(e->elf, i));

	assert_non_null(s);
	return s;
}

const char *wt_section(const struct wt_elf *e, size_t i)
{
	const char *name = elf_strptr(e->elf, e->shstr, wt_shdr(e, i)->sh_name);

	assert_non_null(name);
	return name;
}

size_t wt_find(const struct wt_elf *e, const char *name)
{
	for (size_t i = 1; i < e->nsections; i++)
		if (strcmp(wt_section(e, i), name) == 0)
			return i;
	return 0;
}

const uint8_t *wt_bytes(const struct wt_elf *e, size_t i, size_t *n)
{
	Elf_Data *d = elf_rawdata(elf_getscn(e->elf, i), NULL);

	assert_non_null(d);
	if (n)
		*n = d->d_size;
	return d->d_buf;
}

const Elf64_Sym *wt_symbol(const struct wt_elf *e, size_t i)
{
	size_t n;
	const uint8_t *b = wt_bytes(e, e->symtab, &n);

	assert_in_range(i, 0, n / sizeof(Elf64_Sym) - 1);
	return (const Elf64_Sym *)b + i;
}

const char *wt_symbol_name(const struct wt_elf *e, size_t i)
{
	return elf_strptr(e->elf, wt_shdr(e, e->symtab)->sh_link, wt_symbol(e, i)->st_name);
}

struct wt_image wt_load(const struct wrap_result *r, uint64_t base, uint64_t import)
{
	const struct gm_header *h = wt_header(r);
	const struct gm_segment *s = WT_TABLE(r, segments);
	const struct gm_reloc *rel = WT_TABLE(r, relocs);
	const uint8_t *image = WT_TABLE(r, image);
	struct wt_image m = { .base = base, .import = import };

	for (uint32_t i = 0; i < h->segments.count; i++)
		m.pages = s[i].start / GM_PAGE + (s[i].size + GM_PAGE - 1) / GM_PAGE;
	assert_in_range(m.pages, 1, GM_MAX_PAGES);
	m.data = calloc(m.pages ? m.pages : 1, GM_PAGE);
	assert_non_null(m.data);
	for (uint32_t i = 0; i < h->segments.count; i++)
		if (s[i].image != GM_NONE)
			memcpy(m.data + s[i].start, image + s[i].image, s[i].size);
	for (uint32_t i = 0; i < h->relocs.count; i++) {
		uint64_t p = base + rel[i].moff, v;

		v = rel[i].kind == GM_TARGET_SEGMENT ? base + s[rel[i].target].start
						     : import + 16 * rel[i].target;
		v += (uint64_t)rel[i].addend;
		if (rel[i].type == GM_R_PC32 || rel[i].type == GM_R_PLT32 ||
		    rel[i].type == GM_R_PC64)
			v -= p;
		memcpy(m.data + rel[i].moff, &v,
		       rel[i].type == GM_R_64 || rel[i].type == GM_R_PC64 ? 8 : 4);
	}
	return m;
}
