/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text to scenario. One line, one thing; the input is hostile, so everything has a bound and
 * every error names its line.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/names.h"
#include "scenario/scn.h"

struct parser {
	struct scenario *s;
	struct error *err;
	uint32_t line;
	const char *at, *end; /* of the line's rest */
	int thread;	      /* -1: still in the header */
	uint32_t seen;	      /* header lines, by bit */
};

static bool bad(struct parser *p, const char *what, const char *tok, size_t len)
{
	if (len > 60)
		len = 60;
	return error_set(p->err, "%s:%u: %s%s%.*s%s", p->s->name, p->line, what, tok ? ": '" : "",
			 tok ? (int)len : 0, tok ? tok : "", tok ? "'" : "");
}

static bool no_memory(struct parser *p)
{
	return error_set(p->err, "%s:%u: more than can be held", p->s->name, p->line);
}

/* The next word of the line, without taking it. */
static bool peek(struct parser *p, const char **tok, size_t *len)
{
	const char *q;

	while (p->at < p->end && (*p->at == ' ' || *p->at == '\t'))
		p->at++;
	for (q = p->at; q < p->end && *q != ' ' && *q != '\t'; q++)
		;
	*tok = p->at;
	*len = (size_t)(q - p->at);
	return *len > 0;
}

static bool next(struct parser *p, const char **tok, size_t *len)
{
	if (!peek(p, tok, len))
		return false;
	p->at += *len;
	return true;
}

static bool same(const char *tok, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(tok, word, len) == 0;
}

static bool take(struct parser *p, const char *word)
{
	const char *tok;
	size_t len;

	if (!peek(p, &tok, &len) || !same(tok, len, word))
		return false;
	p->at += len;
	return true;
}

static bool line_end(struct parser *p)
{
	const char *tok;
	size_t len;

	return peek(p, &tok, &len) ? bad(p, "not understood", tok, len) : true;
}

/* All of [tok, tok + len) as a number: decimal or 0x. */
static bool number(const char *tok, size_t len, uint64_t *v)
{
	char buf[24], *end;

	if (len == 0 || len >= sizeof(buf) || !isdigit((unsigned char)tok[0]))
		return false;
	memcpy(buf, tok, len);
	buf[len] = 0;
	errno = 0;
	*v = strtoull(buf, &end, buf[0] == '0' && buf[1] == 'x' ? 16 : 10);
	return errno == 0 && *end == 0;
}

static bool small_number(struct parser *p, uint64_t max, uint64_t *v)
{
	const char *tok;
	size_t len;

	if (!next(p, &tok, &len))
		return bad(p, "a number is missing", NULL, 0);
	if (!number(tok, len, v) || *v > max)
		return error_set(p->err, "%s:%u: not a number up to %llu: '%.*s'", p->s->name,
				 p->line, (unsigned long long)max, len > 60 ? 60 : (int)len, tok);
	return true;
}

/* Index of a word in a table of n; -1: not there. */
static int lookup(const char *const *table, unsigned n, const char *tok, size_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (table[i] && table[i][0] && same(tok, len, table[i]))
			return (int)i;
	return -1;
}

/* ---- operands ---- */

/* One term of a sum: up to the next + or a - that is not inside a name. */
static size_t term_length(const char *t, size_t len)
{
	size_t i = 0;

	while (i < len && t[i] != '+') {
		if (t[i] == '-' && i > 0 && !(i + 1 < len && isalpha((unsigned char)t[i + 1])))
			break;
		i++;
	}
	return i;
}

static bool operand(struct parser *p, const char *tok, size_t len, struct scn_operand *o)
{
	const char *t = tok;
	size_t rest = len;

	memset(o, 0, sizeof(*o));
	while (rest > 0 && (*t == '~' || *t == '*')) {
		uint8_t flag = *t == '~' ? PP_ALIAS : PP_LOAD;

		/* the word at the alias, never the alias of a word: one order, one meaning */
		if ((o->flags & flag) || (flag == PP_LOAD && o->flags))
			return bad(p, "prefixes are *, ~ or *~", tok, len);
		o->flags |= flag;
		t++, rest--;
	}
	if (rest == 0)
		return bad(p, "an operand is missing", tok, len);
	while (rest > 0) {
		bool minus = false;
		size_t n;
		uint64_t v;

		if (*t == '+' || *t == '-') {
			minus = *t == '-';
			t++, rest--;
		}
		n = term_length(t, rest);
		if (number(t, n, &v)) {
			o->addend += minus ? -v : v;
		} else if (minus) {
			return bad(p, "only a number can be subtracted", tok, len);
		} else if (n > 1 && *t == '@') {
			int d = lookup(scn_dyns, PP_DYN_COUNT, t + 1, n - 1);

			if (d < 0)
				return bad(p, "unknown @value", tok, len);
			if (o->dyn)
				return bad(p, "more than one @value", tok, len);
			o->dyn = (uint8_t)d;
		} else if (scn_is_name(t, n)) {
			if (o->sym)
				return bad(p, "more than one name", tok, len);
			o->sym = scn_intern(p->s, t, n);
			if (!o->sym)
				return no_memory(p);
		} else {
			return bad(p, "neither a number, a name nor an @value", tok, len);
		}
		t += n;
		rest -= n;
	}
	return true;
}

static bool is_key(const char *tok, size_t len)
{
	return memchr(tok, '=', len) != NULL;
}

/* `may` is absent: a next word that is none of the step's fixed words is taken as operand. */
static bool arg(struct parser *p, struct scn_step *st, bool must)
{
	const char *tok;
	size_t len;

	if (!peek(p, &tok, &len) || is_key(tok, len) ||
	    (!must && (same(tok, len, "from") || same(tok, len, "keep"))))
		return must ? bad(p, "an operand is missing", NULL, 0) : true;
	if (st->nargs >= PP_MAX_ARGS)
		return bad(p, "too many operands", tok, len);
	p->at += len;
	return operand(p, tok, len, &st->arg[st->nargs++]);
}

static bool args(struct parser *p, struct scn_step *st)
{
	const char *tok;
	size_t len;

	while (peek(p, &tok, &len) && !is_key(tok, len))
		if (!arg(p, st, true))
			return false;
	return true;
}

static bool keys(struct parser *p, struct scn_step *st)
{
	const char *tok, *eq;
	size_t len;
	int k;

	while (peek(p, &tok, &len) && is_key(tok, len)) {
		eq = memchr(tok, '=', len);
		k = lookup(scn_keys, PP_KEY_COUNT, tok, (size_t)(eq - tok));
		if (k < 0 || !(scn_step_keys(st->op) >> k & 1))
			return bad(p, "no such key here", tok, len);
		if (st->nkeys >= PP_MAX_KEYS)
			return bad(p, "too many keys", tok, len);
		p->at += len;
		st->key[st->nkeys].key = (uint8_t)k;
		if (!operand(p, eq + 1, len - (size_t)(eq + 1 - tok), &st->key[st->nkeys].o))
			return false;
		st->nkeys++;
	}
	return true;
}

static bool name(struct parser *p, uint16_t *word)
{
	const char *tok;
	size_t len;

	if (!next(p, &tok, &len))
		return bad(p, "a name is missing", NULL, 0);
	if (!scn_is_name(tok, len))
		return bad(p, "not a name", tok, len);
	*word = scn_intern(p->s, tok, len);
	return *word ? true : no_memory(p);
}

/* ---- the parts of a step, by the letters of its shape ---- */

static bool rights(struct parser *p, struct scn_step *st)
{
	const char *tok;
	size_t len;
	uint64_t n = 0;

	while (peek(p, &tok, &len) && !same(tok, len, "space")) {
		int r = lookup(scn_rights, 7, tok, len);

		if (r < 0)
			return bad(p, "not a page right", tok, len);
		st->flags |= (uint8_t)(1u << r);
		p->at += len;
	}
	if (take(p, "space")) {
		if (!small_number(p, PP_SPACES - 1, &n))
			return false;
		st->sub = (uint8_t)n;
	}
	return true;
}

static bool event_and_verdict(struct parser *p, struct scn_step *st)
{
	const char *tok;
	size_t len;
	unsigned i;

	if (!next(p, &tok, &len))
		return bad(p, "an event is missing", NULL, 0);
	for (i = 0; i < GUARD_NEVENTS; i++)
		if (same(tok, len, guard_event_string((enum guard_event_name)i)))
			break;
	if (i == GUARD_NEVENTS)
		return bad(p, "not an event", tok, len);
	st->sub = (uint8_t)i;
	if (!next(p, &tok, &len))
		return bad(p, "a verdict is missing", NULL, 0);
	for (i = 0; i < GUARD_NVERDICTS; i++)
		if (same(tok, len, guard_verdict_string((enum guard_verdict)i)))
			break;
	if (i == GUARD_NVERDICTS)
		return bad(p, "not a verdict", tok, len);
	st->label = (uint8_t)i;
	return true;
}

static bool register_name(struct parser *p, struct scn_step *st)
{
	const char *tok;
	size_t len;
	int k;

	if (!next(p, &tok, &len))
		return bad(p, "a register is missing", NULL, 0);
	k = lookup(scn_keys, PP_KEY_FLAGS + 1, tok, len);
	if (k < 0)
		return bad(p, "not a register", tok, len);
	st->sub = (uint8_t)k;
	return true;
}

static bool label(struct parser *p, struct scn_step *st, uint64_t max)
{
	uint64_t n = 0;

	if (!small_number(p, max, &n))
		return false;
	st->label = (uint8_t)n;
	return true;
}

static bool rest_of_line(struct parser *p, const char **text, size_t *len)
{
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\t'))
		p->at++;
	while (p->end > p->at && (p->end[-1] == ' ' || p->end[-1] == '\t'))
		p->end--;
	*text = p->at;
	*len = (size_t)(p->end - p->at);
	p->at = p->end;
	if (!scn_is_text(*text, *len))
		return bad(p, "too long or not plain text", *text, *len);
	return true;
}

static bool remark(struct parser *p, uint16_t *word)
{
	const char *text;
	size_t len;

	if (!rest_of_line(p, &text, &len))
		return false;
	*word = len ? scn_intern(p->s, text, len) : 0;
	return len && !*word ? no_memory(p) : true;
}

/* The step whose word this is; a digit behind a `w` step's word is its width. */
static int find_step(const char *tok, size_t len, uint8_t *width)
{
	for (int i = 1; i < PP_OP_COUNT; i++) {
		const struct scn_shape *sh = &scn_ops[i];

		if (sh->shape[0] != 'w') {
			if (same(tok, len, sh->word))
				return i;
			continue;
		}
		if (len < 2 || !same(tok, len - 1, sh->word) || !strchr("1248", tok[len - 1]))
			continue;
		*width = (uint8_t)(tok[len - 1] - '0');
		return i;
	}
	return -1;
}

static bool part(struct parser *p, struct scn_step *st, char letter)
{
	switch (letter) {
	case 'w': return true;
	case 'o': return arg(p, st, true);
	case 'O': return arg(p, st, false);
	case '*': return args(p, st);
	case 'k': return keys(p, st);
	case 'n': return label(p, st, PP_LABELS - 1);
	case 'A': return take(p, "as") ? label(p, st, PP_LABELS - 1) : true;
	case 'F': return take(p, "from") ? label(p, st, PP_LABELS - 1) : true;
	case 'K':
		if (take(p, "keep"))
			st->flags |= PP_KEEP;
		return true;
	case 's': return name(p, &st->word);
	case 'P': return rights(p, st);
	case 'g': return register_name(p, st);
	case 'E': return event_and_verdict(p, st);
	default: return remark(p, &st->word);
	}
}

static bool step(struct parser *p)
{
	struct scn_step *st;
	const char *tok;
	size_t len;
	uint8_t width = 0;
	int op;

	if (!peek(p, &tok, &len))
		return true;
	if (tok[0] == '#') {
		op = PP_COMMENT;
		len = 1;
	} else {
		op = find_step(tok, len, &width);
	}
	if (op < 0)
		return bad(p, "no such step", tok, len);
	st = scn_add_step(p->s);
	if (!st)
		return error_set(p->err, "%s:%u: more than %u steps", p->s->name, p->line,
				 SCN_MAX_STEPS);
	p->at += len;
	st->op = (uint8_t)op;
	st->sub = width;
	st->thread = (uint8_t)p->thread;
	st->line = p->line;
	for (const char *c = scn_ops[op].shape; *c; c++)
		if (!part(p, st, *c))
			return false;
	return line_end(p);
}

/* ---- the header ---- */

static bool kinds(struct parser *p, const char *tok, size_t len, uint8_t *mask)
{
	*mask = 0;
	while (len > 0) {
		const char *comma = memchr(tok, ',', len);
		size_t n = comma ? (size_t)(comma - tok) : len;
		int k = lookup(scn_kinds, GM_PRIVS, tok, n);

		if (same(tok, n, "none"))
			k = GM_PRIVS;
		if (k < 0)
			return bad(p, "not a kind of privilege", tok, n);
		if (k < (int)GM_PRIVS)
			*mask |= (uint8_t)(1u << k);
		tok += n + (comma != NULL);
		len -= n + (comma != NULL);
	}
	return true;
}

static bool range(struct parser *p, uint32_t *first, uint32_t *last)
{
	uint64_t a = 0, b = 0;

	if (!small_number(p, UINT32_MAX, &a) || !small_number(p, UINT32_MAX, &b))
		return false;
	*first = (uint32_t)a;
	*last = (uint32_t)b;
	return true;
}

static bool config_range(struct parser *p, struct scn_module *m)
{
	uint64_t a = 0, b = 0;

	if (!small_number(p, 255, &a) || !small_number(p, 255, &b))
		return false;
	if (a < 0x40 || b < a)
		return bad(p, "bytes of configuration space are 0x40 to 0xff, first to last", NULL,
			   0);
	m->config_first = (uint8_t)a;
	m->config_last = (uint8_t)b;
	return true;
}

static bool module_option(struct parser *p, struct scn_module *m, const char *tok, size_t len)
{
	const char *eq = memchr(tok, '=', len);
	size_t klen = eq ? (size_t)(eq - tok) : len;
	const char *v = eq ? eq + 1 : NULL;
	size_t vlen = eq ? len - klen - 1 : 0;
	uint64_t n = 0;

	if (same(tok, len, "device"))
		m->wanted |= 1u << GM_PRIV_DEVICE;
	else if (same(tok, len, "mwait"))
		m->wanted |= 1u << GM_PRIV_MWAIT;
	else if (same(tok, len, "ioport")) {
		m->wanted |= 1u << GM_PRIV_IOPORT;
		return range(p, &m->port_first, &m->port_last);
	} else if (same(tok, len, "msr")) {
		m->wanted |= 1u << GM_PRIV_MSR;
		return range(p, &m->msr_first, &m->msr_last);
	} else if (same(tok, len, "config")) {
		return config_range(p, m);
	} else if (same(tok, len, "unbound"))
		m->flags |= SCN_UNBOUND;
	else if (same(tok, len, "unannounced"))
		m->flags |= SCN_UNANNOUNCED;
	else if (eq && same(tok, klen, "bound"))
		return kinds(p, v, vlen, &m->bound);
	else if (eq && same(tok, klen, "granted"))
		return kinds(p, v, vlen, &m->granted);
	else if (eq && same(tok, klen, "required"))
		return kinds(p, v, vlen, &m->required);
	else if (eq && same(tok, klen, "chains")) {
		if (!number(v, vlen, &n) || n == 0 || n > 256)
			return bad(p, "chains are 1 to 256", tok, len);
		m->chains = (uint32_t)n;
	} else {
		for (unsigned i = 0; eq && i < 4; i++) {
			if (!same(tok, klen, scn_policies[i].word))
				continue;
			for (unsigned k = 0; scn_policies[i].value[k]; k++) {
				if (!same(v, vlen, scn_policies[i].value[k]))
					continue;
				((uint8_t *)m)[scn_policies[i].offset] = (uint8_t)k;
				return true;
			}
		}
		return bad(p, "not a module option", tok, len);
	}
	return true;
}

static bool module(struct parser *p)
{
	struct scn_module *m;
	const char *tok;
	size_t len;

	if (p->s->nmodules >= SCN_MAX_MODULES)
		return error_set(p->err, "%s:%u: more than %u modules", p->s->name, p->line,
				 SCN_MAX_MODULES);
	m = &p->s->module[p->s->nmodules];
	memset(m, 0, sizeof(*m));
	m->chains = SCN_DEFAULT_CHAINS;
	m->bound = SCN_KINDS;
	m->granted = SCN_KINDS;
	m->line = p->line;
	if (!name(p, &m->word))
		return false;
	if (strpbrk(scn_word(p->s, m->word), ":/"))
		return bad(p, "not a module's name", scn_word(p->s, m->word), SCN_MAX_WORD);
	for (unsigned i = 0; i < p->s->nmodules; i++)
		if (p->s->module[i].word == m->word)
			return bad(p, "this module is there twice", scn_word(p->s, m->word),
				   SCN_MAX_WORD);
	p->s->nmodules++;
	while (next(p, &tok, &len))
		if (!module_option(p, m, tok, len))
			return false;
	return true;
}

enum header_line { H_SCENARIO, H_TITLE, H_CLASS, H_VCPUS, H_RAM, H_MODULE, H_THREAD, H_LINES };
static const char *const header_words[H_LINES] = { "scenario", "title",	 "class", "vcpus",
						   "ram",      "module", "thread" };

static bool thread(struct parser *p)
{
	uint64_t n = 0;

	if ((p->seen & 3) != 3)
		return bad(p, "'scenario' and 'title' come before the first thread", NULL, 0);
	if (!small_number(p, PP_THREADS - 1, &n))
		return false;
	if ((int)n <= p->thread)
		return bad(p, "threads come in ascending order, each once", NULL, 0);
	if (n >= p->s->vcpus && n < PP_MAX_VCPUS)
		return bad(p, "there are not so many vCPUs ('vcpus N' above)", NULL, 0);
	p->thread = (int)n;
	return line_end(p);
}

static bool header(struct parser *p)
{
	const char *tok, *text;
	size_t len;
	uint64_t n = 0;
	int h;

	if (!next(p, &tok, &len))
		return true;
	if (tok[0] == '#') {
		p->at = tok + 1;
		if (p->s->nremarks >= SCN_MAX_REMARKS)
			return bad(p, "too many comments before the first thread", NULL, 0);
		if (!rest_of_line(p, &text, &len))
			return false;
		memcpy(p->s->remark[p->s->nremarks++], text, len);
		return true;
	}
	h = lookup(header_words, H_LINES, tok, len);
	if (h < 0)
		return bad(p, "not a header line", tok, len);
	if (h < H_MODULE && (p->seen >> h & 1))
		return bad(p, "this line is there twice", tok, len);
	p->seen |= 1u << h;
	switch (h) {
	case H_SCENARIO:
		if (!next(p, &tok, &len) || !scn_is_name(tok, len) || len >= sizeof(p->s->id))
			return bad(p, "an ID is missing or too long", NULL, 0);
		memcpy(p->s->id, tok, len);
		break;
	case H_TITLE:
		if (!rest_of_line(p, &text, &len))
			return false;
		memcpy(p->s->title, text, len);
		return len ? true : bad(p, "the title is empty", NULL, 0);
	case H_CLASS:
		next(p, &tok, &len);
		h = lookup(scn_classes, SCN_CLASSES, tok, len);
		if (h < 0)
			return bad(p, "class is sync, race or needs-nx", NULL, 0);
		p->s->class = (uint8_t)h;
		break;
	case H_VCPUS:
		if (!small_number(p, PP_MAX_VCPUS, &n))
			return false;
		if (n == 0)
			return bad(p, "at least one vCPU", NULL, 0);
		p->s->vcpus = (uint8_t)n;
		break;
	case H_RAM:
		if (!small_number(p, 1024, &n))
			return false;
		if (n < 16)
			return bad(p, "ram is 16 to 1024 (MiB)", NULL, 0);
		p->s->ram_mib = (uint16_t)n;
		break;
	case H_MODULE: return module(p);
	default: return thread(p);
	}
	return line_end(p);
}

static bool one_line(struct parser *p)
{
	const char *tok;
	size_t len;

	if (p->thread < 0)
		return header(p);
	if (peek(p, &tok, &len) && same(tok, len, "thread")) {
		p->at += len;
		return thread(p);
	}
	return step(p);
}

bool scenario_parse(const char *filename, const char *text, size_t len, struct scenario **s,
		    struct error *err)
{
	struct parser p = { .s = scn_new(filename), .err = err, .thread = -1 };
	const char *end = text + len;

	*s = NULL;
	if (!p.s)
		return error_set(err, "%s: out of memory", filename);
	if (len > SCN_MAX_BYTES) {
		error_set(err, "%s: longer than %u bytes", filename, SCN_MAX_BYTES);
		goto fail;
	}
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		p.line++;
		p.at = text;
		p.end = nl ? nl : end;
		text = nl ? nl + 1 : end;
		if (!one_line(&p))
			goto fail;
	}
	if (p.thread < 0) {
		p.line++;
		bad(&p, "no 'thread' line: a scenario needs a header and at least one thread", NULL,
		    0);
		goto fail;
	}
	*s = p.s;
	return true;
fail:
	scenario_free(p.s);
	return false;
}
