/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/plant.h"

static struct blob copy(const struct blob *b)
{
	struct blob c = { aligned_alloc(16, (b->size + 15) / 16 * 16), b->size };

	assert_non_null(c.data);
	memcpy(c.data, b->data, b->size);
	return c;
}

static void attach(struct plant *p)
{
	p->h = (void *)p->m.data;
}

struct plant plant_make(const struct blob *original, const struct wrap_result *r)
{
	struct plant p = { copy(original), copy(&r->ko), copy(&r->manifest), NULL };

	attach(&p);
	return p;
}

struct plant plant_copy(const struct plant *q)
{
	struct plant p = { copy(&q->o), copy(&q->w), copy(&q->m), NULL };

	attach(&p);
	return p;
}

void plant_free(struct plant *p)
{
	free(p->o.data);
	free(p->w.data);
	free(p->m.data);
}

static Elf64_Shdr *headers(struct blob *b)
{
	return (void *)(b->data + ((Elf64_Ehdr *)b->data)->e_shoff);
}

uint32_t plant_index(struct blob *b, const char *name)
{
	const Elf64_Ehdr *eh = (void *)b->data;
	Elf64_Shdr *s = headers(b);
	const char *names = (char *)b->data + s[eh->e_shstrndx].sh_offset;

	for (uint32_t i = 1; i < eh->e_shnum; i++)
		if (strcmp(names + s[i].sh_name, name) == 0)
			return i;
	return 0;
}

Elf64_Shdr *plant_section(struct blob *b, const char *name)
{
	uint32_t i = plant_index(b, name);

	return i ? headers(b) + i : NULL;
}

uint8_t *plant_bytes(struct blob *b, const char *name)
{
	const Elf64_Shdr *s = plant_section(b, name);

	return s ? b->data + s->sh_offset : NULL;
}

Elf64_Rela *plant_relas(struct blob *b, const char *name, uint32_t *n)
{
	const Elf64_Shdr *s = plant_section(b, name);

	*n = s ? (uint32_t)(s->sh_size / sizeof(Elf64_Rela)) : 0;
	return s ? (void *)(b->data + s->sh_offset) : NULL;
}

static const Elf64_Shdr *symtab(struct blob *b)
{
	const Elf64_Ehdr *eh = (void *)b->data;

	for (uint32_t i = 1; i < eh->e_shnum; i++)
		if (headers(b)[i].sh_type == SHT_SYMTAB)
			return headers(b) + i;
	fail_msg("no symbols");
	return NULL;
}

Elf64_Sym *plant_symbol(struct blob *b, uint32_t i)
{
	const Elf64_Shdr *s = symtab(b);

	assert_in_range(i, 0, s->sh_size / sizeof(Elf64_Sym) - 1);
	return (Elf64_Sym *)(void *)(b->data + s->sh_offset) + i;
}

const char *plant_symbol_name(struct blob *b, uint32_t i)
{
	return (char *)b->data + headers(b)[symtab(b)->sh_link].sh_offset +
	       plant_symbol(b, i)->st_name;
}

enum plant_verdict plant_check(const struct plant *p, struct check_report *r, struct error *err)
{
	return plant_check_told(p, NULL, r, err);
}

enum plant_verdict plant_check_told(const struct plant *p, const struct check_options *opt,
				    struct check_report *r, struct error *err)
{
	const struct check_file o = { "o.ko", &p->o }, w = { "w.ko", &p->w },
				m = { "w.manifest", &p->m };

	if (!check_module(&o, &w, &m, opt, r, err))
		return PLANT_BAD_INPUT;
	return r->faults ? PLANT_FAULT : PLANT_PROVED;
}
