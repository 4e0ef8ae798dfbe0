/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Scenario to and from the binary form.
 *
 * The decoder is what a fuzzer talks to: it takes any bytes, looks at every length before it is
 * used, and accepts only what the encoder could have written, so that the two forms stay in step.
 * Little endian; names stand where they are used, with a length byte before them.
 */
#include <stdlib.h>
#include <string.h>

#include "model/names.h"
#include "scenario/scn.h"

static const char magic[8] = SCN_MAGIC;

/* ---- writing ---- */

struct writer {
	uint8_t *data;
	size_t len, room;
	bool failed;
};

static void put(struct writer *w, const void *p, size_t n)
{
	if (w->len + n > w->room) {
		size_t room = 2 * (w->len + n) + 256;
		uint8_t *grown = realloc(w->data, room);

		if (!grown) {
			w->failed = true;
			return;
		}
		w->data = grown;
		w->room = room;
	}
	memcpy(w->data + w->len, p, n);
	w->len += n;
}

static void put_int(struct writer *w, uint64_t v, unsigned bytes)
{
	uint8_t b[8];

	for (unsigned i = 0; i < bytes; i++)
		b[i] = (uint8_t)(v >> 8 * i);
	put(w, b, bytes);
}

static void put_word(struct writer *w, const char *word)
{
	size_t n = strlen(word);

	put_int(w, n, 1);
	put(w, word, n);
}

static void put_operand(struct writer *w, const struct scenario *s, const struct scn_operand *o)
{
	put_int(w, o->flags, 1);
	put_int(w, o->dyn, 1);
	put_int(w, o->addend, 8);
	put_word(w, scn_word(s, o->sym));
}

static void put_step(struct writer *w, const struct scenario *s, const struct scn_step *st)
{
	put_int(w, st->thread, 1);
	put_int(w, st->op, 1);
	put_int(w, st->sub, 1);
	put_int(w, st->label, 1);
	put_int(w, st->flags, 1);
	put_int(w, st->nargs, 1);
	put_int(w, st->nkeys, 1);
	put_word(w, scn_word(s, st->word));
	for (unsigned i = 0; i < st->nargs; i++)
		put_operand(w, s, &st->arg[i]);
	for (unsigned i = 0; i < st->nkeys; i++) {
		put_int(w, st->key[i].key, 1);
		put_operand(w, s, &st->key[i].o);
	}
}

bool scenario_encode(const struct scenario *s, struct blob *out)
{
	struct writer w = { 0 };

	put(&w, magic, sizeof(magic));
	put_int(&w, s->class, 1);
	put_int(&w, s->vcpus, 1);
	put_int(&w, s->ram_mib, 2);
	put_word(&w, s->id);
	put_word(&w, s->title);
	put_int(&w, s->nremarks, 1);
	for (unsigned i = 0; i < s->nremarks; i++)
		put_word(&w, s->remark[i]);
	put_int(&w, s->nmodules, 1);
	for (unsigned i = 0; i < s->nmodules; i++) {
		const struct scn_module *m = &s->module[i];

		put_word(&w, scn_word(s, m->word));
		put_int(&w, m->flags, 1);
		put_int(&w, m->stack, 1);
		put_int(&w, m->registers, 1);
		put_int(&w, m->mapping, 1);
		put_int(&w, m->refusal, 1);
		put_int(&w, m->wanted, 1);
		put_int(&w, m->bound, 1);
		put_int(&w, m->granted, 1);
		put_int(&w, m->required, 1);
		put_int(&w, m->chains, 4);
		put_int(&w, m->port_first, 4);
		put_int(&w, m->port_last, 4);
		put_int(&w, m->msr_first, 4);
		put_int(&w, m->msr_last, 4);
		put_int(&w, m->config_first, 1);
		put_int(&w, m->config_last, 1);
	}
	put_int(&w, s->nsteps, 2);
	for (unsigned i = 0; i < s->nsteps; i++)
		put_step(&w, s, &s->step[i]);
	if (w.failed) {
		free(w.data);
		return false;
	}
	out->data = w.data;
	out->size = w.len;
	return true;
}

/* ---- reading ---- */

struct reader {
	struct scenario *s;
	const uint8_t *data;
	size_t at, len;
	struct error *err;
	const char *what; /* first thing that was wrong */
};

static bool wrong(struct reader *r, const char *what)
{
	if (!r->what)
		r->what = what;
	return false;
}

static bool get_int(struct reader *r, unsigned bytes, uint64_t *v)
{
	*v = 0;
	if (r->len - r->at < bytes)
		return wrong(r, "the file ends here");
	for (unsigned i = 0; i < bytes; i++)
		*v |= (uint64_t)r->data[r->at + i] << 8 * i;
	r->at += bytes;
	return true;
}

/* A byte of at most max. */
static bool get_byte(struct reader *r, unsigned max, uint8_t *v)
{
	uint64_t n;

	if (!get_int(r, 1, &n))
		return false;
	if (n > max) {
		r->at--;
		return wrong(r, "a value out of range");
	}
	*v = (uint8_t)n;
	return true;
}

static bool get_u32(struct reader *r, uint32_t *v)
{
	uint64_t n;

	if (!get_int(r, 4, &n))
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool get_string(struct reader *r, const char **p, size_t *n)
{
	uint8_t len = 0;

	if (!get_byte(r, SCN_MAX_TEXT - 1, &len))
		return false;
	if (r->len - r->at < len)
		return wrong(r, "the file ends here");
	*p = (const char *)r->data + r->at;
	*n = len;
	r->at += len;
	return true;
}

static bool get_text(struct reader *r, char *buf, bool may_be_empty)
{
	const char *p = "";
	size_t n = 0;

	if (!get_string(r, &p, &n))
		return false;
	if (!scn_is_text(p, n) || (n == 0 && !may_be_empty))
		return wrong(r, "not plain text before this");
	memcpy(buf, p, n);
	buf[n] = 0;
	return true;
}

static bool get_name(struct reader *r, uint16_t *word, bool must)
{
	const char *p = "";
	size_t n = 0;

	if (!get_string(r, &p, &n))
		return false;
	*word = 0;
	if (n == 0 && !must)
		return true;
	if (!scn_is_name(p, n))
		return wrong(r, "not a name before this");
	*word = scn_intern(r->s, p, n);
	return *word ? true : wrong(r, "too many names");
}

static bool get_operand(struct reader *r, struct scn_operand *o)
{
	return get_byte(r, PP_ALIAS | PP_LOAD, &o->flags) &&
	       get_byte(r, PP_DYN_COUNT - 1, &o->dyn) && get_int(r, 8, &o->addend) &&
	       get_name(r, &o->sym, false);
}

/* How many operands the shape allows, and does it name a label, a word, ...? */
static bool check_step(struct reader *r, const struct scn_step *st)
{
	unsigned least = 0, most = 0, sub = 0, flags = 0;
	bool label = false, any_label = false, word = false;

	for (const char *c = scn_ops[st->op].shape; *c; c++) {
		switch (*c) {
		case 'o': least++, most++; break;
		case 'O': most++; break;
		case '*': most = PP_MAX_ARGS; break;
		case 'n': label = true; break;
		case 'A':
		case 'F': label = any_label = true; break;
		case 'K': flags = PP_KEEP; break;
		case 's':
		case '#': word = true; break;
		case 'P':
			flags = 0x7f;
			sub = PP_SPACES - 1;
			break;
		case 'g': sub = PP_KEY_FLAGS; break;
		case 'E':
			if (st->sub >= GUARD_NEVENTS || st->label >= GUARD_NVERDICTS)
				return wrong(r, "no such event or verdict");
			break;
		case 'w':
			if (st->sub != 1 && st->sub != 2 && st->sub != 4 && st->sub != 8)
				return wrong(r, "no such width");
			break;
		default: break;
		}
	}
	if (st->nargs < least || st->nargs > most)
		return wrong(r, "wrong number of operands");
	if ((st->flags & ~flags) != 0)
		return wrong(r, "unknown flags");
	if (!word && st->word)
		return wrong(r, "a name that this step does not take");
	if (!strpbrk(scn_ops[st->op].shape, "Ew") && st->sub > sub)
		return wrong(r, "no such register or space");
	if (label ? st->label >= PP_LABELS && !(any_label && st->label == PP_NO_LABEL)
		  : st->label != PP_NO_LABEL && !strchr(scn_ops[st->op].shape, 'E'))
		return wrong(r, "no such label");
	for (unsigned i = 0; i < st->nkeys; i++)
		if (!(scn_step_keys(st->op) >> st->key[i].key & 1))
			return wrong(r, "no such key here");
	return true;
}

static bool get_step(struct reader *r, int *thread)
{
	struct scn_step *st = scn_add_step(r->s);
	size_t start = r->at;

	if (!st)
		return wrong(r, "too many steps");
	if (!get_byte(r, PP_THREADS - 1, &st->thread) || !get_byte(r, PP_OP_COUNT - 1, &st->op) ||
	    !get_byte(r, 255, &st->sub) || !get_byte(r, 255, &st->label) ||
	    !get_byte(r, 255, &st->flags) || !get_byte(r, PP_MAX_ARGS, &st->nargs) ||
	    !get_byte(r, PP_MAX_KEYS, &st->nkeys))
		return false;
	if (st->thread < *thread || (st->thread >= r->s->vcpus && st->thread < PP_MAX_VCPUS)) {
		r->at = start;
		return wrong(r, "threads out of order, or one of a vCPU that is not there");
	}
	*thread = st->thread;
	if (st->op == PP_COMMENT) {
		const char *p = "";
		size_t n = 0;

		if (!get_string(r, &p, &n))
			return false;
		if (!scn_is_text(p, n))
			return wrong(r, "not plain text before this");
		st->word = n ? scn_intern(r->s, p, n) : 0;
		if (n && !st->word)
			return wrong(r, "too many names");
	} else if (!get_name(r, &st->word, strchr(scn_ops[st->op].shape, 's') != NULL)) {
		return false;
	}
	for (unsigned i = 0; i < st->nargs; i++)
		if (!get_operand(r, &st->arg[i]))
			return false;
	for (unsigned i = 0; i < st->nkeys; i++)
		if (!get_byte(r, PP_KEY_COUNT - 1, &st->key[i].key) ||
		    !get_operand(r, &st->key[i].o))
			return false;
	return check_step(r, st);
}

static bool get_module(struct reader *r)
{
	struct scn_module *m = &r->s->module[r->s->nmodules];
	const char *word;

	if (!get_name(r, &m->word, true) || !get_byte(r, SCN_MODULE_FLAGS, &m->flags) ||
	    !get_byte(r, 2, &m->stack) || !get_byte(r, 1, &m->registers) ||
	    !get_byte(r, 1, &m->mapping) || !get_byte(r, 2, &m->refusal) ||
	    !get_byte(r, SCN_KINDS, &m->wanted) || !get_byte(r, SCN_KINDS, &m->bound) ||
	    !get_byte(r, SCN_KINDS, &m->granted) || !get_byte(r, SCN_KINDS, &m->required) ||
	    !get_u32(r, &m->chains) || !get_u32(r, &m->port_first) || !get_u32(r, &m->port_last) ||
	    !get_u32(r, &m->msr_first) || !get_u32(r, &m->msr_last) ||
	    !get_byte(r, 255, &m->config_first) || !get_byte(r, 255, &m->config_last))
		return false;
	word = scn_word(r->s, m->word);
	if (strpbrk(word, ":/"))
		return wrong(r, "not a module's name");
	for (unsigned i = 0; i < r->s->nmodules; i++)
		if (r->s->module[i].word == m->word)
			return wrong(r, "a module is there twice");
	if (m->wanted & 1u << GM_PRIV_PRIVATE)
		return wrong(r, "private memory comes with its section");
	if (m->chains == 0 || m->chains > 256)
		return wrong(r, "chains are 1 to 256");
	if ((!(m->wanted >> GM_PRIV_IOPORT & 1) && (m->port_first | m->port_last)) ||
	    (!(m->wanted >> GM_PRIV_MSR & 1) && (m->msr_first | m->msr_last)))
		return wrong(r, "a range for a privilege that is not wanted");
	if ((m->config_first | m->config_last) &&
	    (m->config_first < 0x40 || m->config_last < m->config_first))
		return wrong(r, "no such bytes of configuration space");
	r->s->nmodules++;
	return true;
}

static bool get_all(struct reader *r)
{
	struct scenario *s = r->s;
	uint64_t n;
	uint8_t count;
	int thread = 0;

	if (r->len < sizeof(magic) || memcmp(r->data, magic, sizeof(magic)) != 0)
		return wrong(r, "not a scenario in binary form");
	r->at = sizeof(magic);
	if (!get_byte(r, SCN_CLASSES - 1, &s->class) || !get_byte(r, PP_MAX_VCPUS, &s->vcpus))
		return false;
	if (s->vcpus == 0)
		return wrong(r, "no vCPU");
	if (!get_int(r, 2, &n))
		return false;
	s->ram_mib = (uint16_t)n;
	if (n && (n < 16 || n > 1024))
		return wrong(r, "ram is 16 to 1024 (MiB)");
	{
		const char *p = "";
		size_t len = 0;

		if (!get_string(r, &p, &len))
			return false;
		if (!scn_is_name(p, len) || len >= sizeof(s->id))
			return wrong(r, "not an ID before this");
		memcpy(s->id, p, len);
	}
	if (!get_text(r, s->title, false) || !get_byte(r, SCN_MAX_REMARKS, &count))
		return false;
	while (s->nremarks < count)
		if (!get_text(r, s->remark[s->nremarks++], true))
			return false;
	if (!get_byte(r, SCN_MAX_MODULES, &count))
		return false;
	while (s->nmodules < count)
		if (!get_module(r))
			return false;
	if (!get_int(r, 2, &n))
		return false;
	while (s->nsteps < n)
		if (!get_step(r, &thread))
			return false;
	return r->at == r->len ? true : wrong(r, "bytes behind the end");
}

bool scenario_decode(const char *name, const void *data, size_t len, struct scenario **s,
		     struct error *err)
{
	struct reader r = { .s = scn_new(name), .data = data, .len = len, .err = err };

	*s = NULL;
	if (!r.s)
		return error_set(err, "%s: out of memory", name);
	if (len > SCN_MAX_BYTES)
		wrong(&r, "longer than the largest scenario");
	if (r.what || !get_all(&r)) {
		scenario_free(r.s);
		return error_set(err, "%s: offset 0x%zx: %s", name, r.at, r.what);
	}
	scn_number_lines(r.s);
	*s = r.s;
	return true;
}

bool scenario_load(const char *path, struct scenario **s, struct error *err)
{
	struct blob b;
	bool ok;

	*s = NULL;
	if (!blob_read(&b, path, SCN_MAX_BYTES, err))
		return false;
	if (b.size >= sizeof(magic) && memcmp(b.data, magic, sizeof(magic)) == 0)
		ok = scenario_decode(path, b.data, b.size, s, err);
	else
		ok = scenario_parse(path, (const char *)b.data, b.size, s, err);
	blob_free(&b);
	return ok;
}
