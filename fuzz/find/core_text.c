// SPDX-License-Identifier: GPL-2.0-only
/*
 * The text form of an input of the target `core`, without loss in either direction:
 *
 *	guardhouse-core 1
 *	world 0
 *	call v0 m0 fn=f word=0
 *	poke v0 m0 at=slot 0 value=0x1c	# as a comment
 *
 * An operand is a name where the value has one, else a number. Operands that a step does not look at
 * are called x, a and b, and stand there only if they are not 0; so do `kind`, of a step whose first
 * byte is not the smallest of those that mean it, and `rest`, bytes behind the last whole step.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "fuzz/find.h"

#define NAMES 16u

struct operand {
	const char *key; /* NULL: the step does not look at it */
	const char *name[NAMES];
};

#define FNS "f", "g", "d", "w", "init", "callback"
#define WAYS                                                                                       \
	{                                                                                          \
		"way",                                                                             \
		{                                                                                  \
			"gate", "raw", "halt", "raw-halt"                                          \
		}                                                                                  \
	}
#define PLAIN(key)                                                                                 \
	{                                                                                          \
		key,                                                                               \
		{                                                                                  \
			NULL                                                                       \
		}                                                                                  \
	}

static const struct {
	struct operand x, a, b;
} shapes[FC_NSTEPS] = {
	[ST_CALL] = { .x = WAYS, .a = { "fn", { FNS } }, .b = PLAIN("word") },
	[ST_CALLOUT] = { .x = WAYS, .a = { "gate", { "leave", "leave-asm", "leave-rax" } } },
	[ST_RET] = { .x = WAYS, .a = { "registers", { "clobber", "keep" } } },
	[ST_TAIL] = { .x = WAYS, .a = { "gate", { "leave", "leave-asm", "leave-rax" } } },
	[ST_INNER] = { .a = { "fn", { "f", "g", "d", "h" } } },
	[ST_DEPART] = { .a = { "cause", { "irq", "exception", "nmi", "other" } },
			.b = { "vector", { "pf", "ud", "gp", "db", "bp", "irq" } } },
	[ST_RESUME] = { .a = { "saved", { "latest", "first" } }, .b = PLAIN("to") },
	[ST_SWITCH] = { .a = PLAIN("thread") },
	[ST_JUMP] = { .a = PLAIN("how"), .b = PLAIN("to") },
	[ST_X] = { .a = PLAIN("place") },
	[ST_FETCH] = { .a = PLAIN("place") },
	[ST_POKE] = { .x = { "where",
			     { "slot", "stack", "slot-register", "stack-register", "slot-frame",
			       "stack-frame" } },
		      .a = PLAIN("at"),
		      .b = PLAIN("value") },
	[ST_PTE] = { .x = { "page", { "stack", "stack-too", "module", "any" } },
		     .a = PLAIN("number"),
		     .b = PLAIN("entry") },
	[ST_REG] = { .a = { "reg",
			    { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9",
			      "r10", "r11", "r12", "r13", "r14", "r15" } },
		     .b = PLAIN("value") },
	[ST_FLAG] = { .a = { "flag", { "ac", "tf" } } },
	[ST_MODE] = { .a = { "bit",
			     { "cpl", "64", "nested", "smm", "wp", "smep", "smap", "nxe", "pg",
			       "lma" } } },
	[ST_RSP] = { .x = { "when", { "outside", "always" } },
		     .a = { "to", { "by", "slot" } },
		     .b = PLAIN("offset") },
	[ST_HYPER] = { .x = PLAIN("at"),
		       .a = { "call", { "withdraw", "announce", "status", "foreign" } },
		       .b = PLAIN("how") },
	[ST_GRANT] = { .a = { "act", { "withhold", "give" } }, .b = PLAIN("set") },
	[ST_REGISTER] = { .a = { "act", { "register", "unregister", "register-and-grant" } } },
	[ST_TOUCH] = { .a = { "what", { "private", "device" } }, .b = PLAIN("offset") },
	[ST_FAIL] = { .a = { "op",
			     { "read", "write", "raise", "lower", "fill", "patch", "copy-read",
			       "guest-read", "private-fill", "written", "role", "device" } },
		      .b = PLAIN("after") },
	[ST_TEXT] = { .a = { "what", { "other-site", "half-site", "text", "gates" } },
		      .b = PLAIN("at") },
	[ST_CR3] = { .a = PLAIN("tables") },
	[ST_MIGRATE] = { .a = PLAIN("with") },
};

/* ---- writing ---- */

static void print_operand(FILE *f, const struct operand *o, const char *plain, unsigned value)
{
	if (!o->key && !value)
		return;
	fprintf(f, " %s=", o->key ? o->key : plain);
	if (o->key && value < NAMES && o->name[value])
		fputs(o->name[value], f);
	else
		fprintf(f, value < 10 ? "%u" : "0x%x", value);
}

void find_core_step(FILE *f, const uint8_t *step)
{
	unsigned kind = step[0] % FC_NSTEPS;

	fprintf(f, "%s v%u m%u", fc_step_names[kind], step[1] & 3, step[1] >> 2 & 1);
	/* how a crossing goes, and where else: the usual goes without saying */
	if (step[1] >> 3 || kind == ST_POKE || kind == ST_PTE)
		print_operand(f, &shapes[kind].x, "x", step[1] >> 3);
	print_operand(f, &shapes[kind].a, "a", step[2]);
	print_operand(f, &shapes[kind].b, "b", step[3]);
	if (step[0] != kind)
		fprintf(f, " kind=0x%x", step[0]);
}

char *find_core_print(const struct blob *in)
{
	size_t size = 0, at = 1;
	char *text = NULL;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fprintf(f, "%s1\n", FIND_CORE_MAGIC);
	if (in->size)
		fprintf(f, "world %u\n", in->data[0]);
	for (; at + FC_STEP <= in->size; at += FC_STEP) {
		find_core_step(f, in->data + at);
		fputc('\n', f);
	}
	if (at < in->size) {
		fputs("rest", f);
		for (; at < in->size; at++)
			fprintf(f, " 0x%x", in->data[at]);
		fputc('\n', f);
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- reading ---- */

struct reader {
	const char *name;
	unsigned line;
	uint8_t out[FC_MAX_INPUT];
	size_t size;
	bool rested; /* `rest` was the last line */
	struct error *err;
};

__attribute__((format(printf, 2, 3))) static bool bad(struct reader *r, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';
	return error_set(r->err, "%s:%u: %s", r->name, r->line, text);
}

static bool number(const char *text, unsigned max, unsigned *value)
{
	char *end;
	unsigned long n;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoul(text, &end, 0);
	*value = (unsigned)n;
	return !errno && !*end && n <= max;
}

static bool value_of(struct reader *r, const struct operand *o, const char *word, unsigned max,
		     unsigned *value)
{
	for (unsigned i = 0; o && i < NAMES && o->name[i]; i++)
		if (!strcmp(o->name[i], word)) {
			*value = i;
			return true;
		}
	return number(word, max, value) ||
	       bad(r, "%.40s: expected a number up to %u or a name of the step's", word, max);
}

/* KEY=VALUE of a step of this kind. */
static bool read_operand(struct reader *r, unsigned kind, char *word, uint8_t step[FC_STEP])
{
	const struct operand *o[3] = { &shapes[kind].x, &shapes[kind].a, &shapes[kind].b };
	static const char *const plain[3] = { "x", "a", "b" };
	char *value = strchr(word, '=');
	unsigned n;

	if (!value)
		return bad(r, "%.40s: expected KEY=VALUE", word);
	*value++ = '\0';
	if (!strcmp(word, "kind")) {
		if (!value_of(r, NULL, value, 255, &n))
			return false;
		if (n % FC_NSTEPS != kind)
			return bad(r, "kind=%u is no %s", n, fc_step_names[kind]);
		step[0] = (uint8_t)n;
		return true;
	}
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(word, o[i]->key ? o[i]->key : plain[i]) != 0)
			continue;
		if (!value_of(r, o[i]->key ? o[i] : NULL, value, i ? 255 : 31, &n))
			return false;
		if (i)
			step[1 + i] = (uint8_t)n;
		else
			step[1] = (uint8_t)((step[1] & 7) | n << 3);
		return true;
	}
	return bad(r, "%s has no operand %.40s", fc_step_names[kind], word);
}

static bool read_step(struct reader *r, const char *word, char **save)
{
	uint8_t step[FC_STEP] = { 0 };
	unsigned kind = 0;
	char *w;

	while (kind < FC_NSTEPS && strcmp(fc_step_names[kind], word) != 0)
		kind++;
	if (kind == FC_NSTEPS)
		return bad(r, "%.40s: no such step", word);
	if (r->size + FC_STEP > FC_MAX_INPUT)
		return bad(r, "more than %u steps", FC_MAX_STEPS);
	step[0] = (uint8_t)kind;
	while ((w = strtok_r(NULL, " \t\r", save))) {
		if (w[0] == 'v' && w[1] >= '0' && w[1] <= '3' && !w[2])
			step[1] = (uint8_t)((step[1] & ~3) | (w[1] - '0'));
		else if (w[0] == 'm' && (w[1] == '0' || w[1] == '1') && !w[2])
			step[1] = (uint8_t)((step[1] & ~4) | (w[1] - '0') << 2);
		else if (!read_operand(r, kind, w, step))
			return false;
	}
	memcpy(r->out + r->size, step, FC_STEP);
	r->size += FC_STEP;
	return true;
}

static bool read_rest(struct reader *r, char **save)
{
	unsigned n = 0, count = 0;
	char *w;

	while ((w = strtok_r(NULL, " \t\r", save))) {
		if (!value_of(r, NULL, w, 255, &n))
			return false;
		if (++count == FC_STEP || r->size == FC_MAX_INPUT)
			return bad(r, "rest: %u bytes or more are a step", FC_STEP);
		r->out[r->size++] = (uint8_t)n;
	}
	r->rested = true;
	return true;
}

static bool read_line(struct reader *r, char *line)
{
	char *save = NULL, *word;
	unsigned n;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, " \t\r", &save);
	if (!word)
		return true;
	if (r->line == 1) {
		word = strtok_r(NULL, " \t\r", &save);
		return (word && !strcmp(word, "1")) ||
		       bad(r, "version %.20s: only version 1 is known", word ? word : "none");
	}
	if (r->rested)
		return bad(r, "nothing can stand behind rest");
	if (!strcmp(word, "world")) {
		word = strtok_r(NULL, " \t\r", &save);
		if (r->size)
			return bad(r, "world stands once, before the steps");
		if (!word || !number(word, 255, &n))
			return bad(r, "world: expected a number up to 255");
		r->out[r->size++] = (uint8_t)n;
		word = strtok_r(NULL, " \t\r", &save);
		return !word || bad(r, "%.40s: nothing more was expected", word);
	}
	if (!r->size)
		return bad(r, "%.40s: expected world N first", word);
	return strcmp(word, "rest") ? read_step(r, word, &save) : read_rest(r, &save);
}

bool find_core_parse(const char *name, const struct blob *text, struct blob *out, struct error *err)
{
	struct reader r = { .name = name, .err = err };
	char *copy = malloc(text->size + 1), *next, *line;
	struct blob bytes;
	bool ok = true;

	if (!copy)
		return error_set(err, "%s: out of memory", name);
	memcpy(copy, text->data, text->size);
	copy[text->size] = '\0';
	if (strlen(copy) != text->size) {
		r.line = 1;
		for (const char *c = copy; *c; c++)
			r.line += *c == '\n';
		ok = bad(&r, "a NUL byte");
		r.line = 0;
	}
	for (line = copy; ok && line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		r.line++;
		ok = read_line(&r, line);
	}
	if (ok && !r.size)
		ok = bad(&r, "expected world N");
	bytes = (struct blob){ r.out, r.size };
	if (ok && !find_copy(&bytes, out))
		ok = error_set(err, "%s: out of memory", name);
	free(copy);
	return ok;
}
