/* SPDX-License-Identifier: GPL-2.0-only */
/* Scenario to text. What parse.c reads back from it is the same scenario. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/names.h"
#include "scenario/scn.h"

static void print_number(FILE *f, uint64_t v)
{
	fprintf(f, v < 1024 ? "%" PRIu64 : "0x%" PRIx64, v);
}

static void print_operand(FILE *f, const struct scenario *s, const struct scn_operand *o)
{
	if (o->flags & PP_LOAD)
		fputc('*', f);
	if (o->flags & PP_ALIAS)
		fputc('~', f);
	if (o->dyn)
		fprintf(f, "@%s", scn_dyns[o->dyn]);
	if (o->sym)
		fprintf(f, "%s%s", o->dyn ? "+" : "", scn_word(s, o->sym));
	if (!o->dyn && !o->sym) {
		print_number(f, o->addend);
	} else if (o->addend) {
		bool minus = o->addend > INT64_MAX;

		fputc(minus ? '-' : '+', f);
		print_number(f, minus ? -o->addend : o->addend);
	}
}

static void print_part(FILE *f, const struct scenario *s, const struct scn_step *st, char letter,
		       unsigned *arg)
{
	switch (letter) {
	case 'o':
	case 'O':
	case '*':
		while (*arg < st->nargs) {
			fputc(' ', f);
			print_operand(f, s, &st->arg[(*arg)++]);
			if (letter != '*')
				break;
		}
		break;
	case 'k':
		for (unsigned i = 0; i < st->nkeys; i++) {
			fprintf(f, " %s=", scn_keys[st->key[i].key]);
			print_operand(f, s, &st->key[i].o);
		}
		break;
	case 'n': fprintf(f, " %u", st->label); break;
	case 'A':
	case 'F':
		if (st->label != PP_NO_LABEL)
			fprintf(f, " %s %u", letter == 'A' ? "as" : "from", st->label);
		break;
	case 'K':
		if (st->flags & PP_KEEP)
			fputs(" keep", f);
		break;
	case 's': fprintf(f, " %s", scn_word(s, st->word)); break;
	case 'P':
		for (unsigned i = 0; i < 7; i++)
			if (st->flags >> i & 1)
				fprintf(f, " %s", scn_rights[i]);
		if (st->sub)
			fprintf(f, " space %u", st->sub);
		break;
	case 'g': fprintf(f, " %s", scn_keys[st->sub]); break;
	case 'E':
		fprintf(f, " %s %s", guard_event_string((enum guard_event_name)st->sub),
			guard_verdict_string((enum guard_verdict)st->label));
		break;
	case '#':
		if (st->word)
			fprintf(f, " %s", scn_word(s, st->word));
		break;
	default: /* w, printed with the word */ break;
	}
}

/* Steps inside a call-out or handler stand one tab further in, for the reader's eye only. */
static unsigned indent(const struct scn_step *st, unsigned depth)
{
	if (st->op == PP_RETURN || st->op == PP_IRET)
		return depth > 1 && !(st->flags & PP_KEEP) ? depth - 1 : depth;
	if (st->op == PP_NEVER)
		return 1;
	return depth;
}

void scn_print_step(FILE *f, const struct scenario *s, const struct scn_step *st)
{
	const struct scn_shape *sh = &scn_ops[st->op];
	unsigned arg = 0;

	fputs(sh->word, f);
	if (sh->shape[0] == 'w')
		fprintf(f, "%u", st->sub);
	for (const char *c = sh->shape; *c; c++)
		print_part(f, s, st, *c, &arg);
}

static void print_step(FILE *f, const struct scenario *s, const struct scn_step *st, unsigned depth)
{
	while (depth--)
		fputc('\t', f);
	scn_print_step(f, s, st);
	fputc('\n', f);
}

static void print_kinds(FILE *f, const char *word, uint8_t kinds)
{
	const char *comma = "";

	fprintf(f, " %s=", word);
	if (!kinds)
		fputs("none", f);
	for (unsigned i = 0; i < GM_PRIVS; i++) {
		if (!(kinds >> i & 1))
			continue;
		fprintf(f, "%s%s", comma, scn_kinds[i]);
		comma = ",";
	}
}

static void print_module(FILE *f, const struct scenario *s, const struct scn_module *m)
{
	fprintf(f, "module %s", scn_word(s, m->word));
	if (m->wanted >> GM_PRIV_DEVICE & 1)
		fputs(" device", f);
	if (m->wanted >> GM_PRIV_MWAIT & 1)
		fputs(" mwait", f);
	if (m->wanted >> GM_PRIV_IOPORT & 1)
		fprintf(f, " ioport %u %u", m->port_first, m->port_last);
	if (m->wanted >> GM_PRIV_MSR & 1)
		fprintf(f, " msr %u %u", m->msr_first, m->msr_last);
	if (m->config_last)
		fprintf(f, " config %u %u", m->config_first, m->config_last);
	for (unsigned i = 0; i < 4; i++) {
		unsigned v = ((const uint8_t *)m)[scn_policies[i].offset];

		if (v)
			fprintf(f, " %s=%s", scn_policies[i].word, scn_policies[i].value[v]);
	}
	if (m->chains != SCN_DEFAULT_CHAINS)
		fprintf(f, " chains=%u", m->chains);
	if (m->bound != SCN_KINDS)
		print_kinds(f, "bound", m->bound);
	if (m->granted != SCN_KINDS)
		print_kinds(f, "granted", m->granted);
	if (m->required)
		print_kinds(f, "required", m->required);
	if (m->flags & SCN_UNBOUND)
		fputs(" unbound", f);
	if (m->flags & SCN_UNANNOUNCED)
		fputs(" unannounced", f);
	fputc('\n', f);
}

bool scenario_print(const struct scenario *s, char **text)
{
	size_t len;
	FILE *f = open_memstream(text, &len);
	unsigned depth = 1;
	int thread = -1;

	if (!f)
		return false;
	for (unsigned i = 0; i < s->nremarks; i++)
		fprintf(f, "#%s%s\n", s->remark[i][0] ? " " : "", s->remark[i]);
	fprintf(f, "scenario %s\ntitle %s\nclass %s\nvcpus %u\n", s->id, s->title,
		scn_classes[s->class], s->vcpus);
	if (s->ram_mib)
		fprintf(f, "ram %u\n", s->ram_mib);
	for (unsigned i = 0; i < s->nmodules; i++)
		print_module(f, s, &s->module[i]);
	for (unsigned i = 0; i < s->nsteps; i++) {
		const struct scn_step *st = &s->step[i];

		if (st->thread != thread) {
			thread = st->thread;
			depth = 1;
			fprintf(f, "\nthread %d\n", thread);
		}
		print_step(f, s, st, indent(st, depth));
		depth = indent(st, depth);
		if ((st->op == PP_CALLOUT || st->op == PP_HANDLER) && depth < 12)
			depth++;
	}
	if (thread < 0)
		fprintf(f, "\nthread 0\n");
	return fclose(f) == 0;
}
