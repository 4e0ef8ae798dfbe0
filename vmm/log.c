/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verdict log: a bounded ring that counts what it lost (spec section 5). A line names events,
 * sites and verdicts and holds no data values, so that logs of different engines can be compared.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/internal.h"

#define DEFAULT_LINES (1u << 20)

bool vm_log_create(struct vm *vm, struct error *err)
{
	size_t room = vm->cfg.log_lines ? vm->cfg.log_lines : DEFAULT_LINES;
	void *p;

	if (room > SIZE_MAX / sizeof(struct vm_line))
		return error_set(err, "log of %zu lines: too long", room);
	/* Untouched pages cost nothing: a short run pays for the lines that it writes. */
	p = mmap(NULL, room * sizeof(struct vm_line), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return error_set(err, "out of memory for a log of %zu lines", room);
	vm->log.ring = p;
	vm->log.room = room;
	return true;
}

void vm_log_destroy(struct vm *vm)
{
	if (vm->log.ring)
		munmap(vm->log.ring, vm->log.room * sizeof(struct vm_line));
}

void vm_log_append(struct vm *vm, unsigned vcpu, const struct guard_line *line)
{
	struct vm_log *log = &vm->log;
	struct vm_line *l;

	if (log->count == log->room) {
		log->first = (log->first + 1) % log->room;
		log->count--;
		log->lost++;
	}
	l = &log->ring[(log->first + log->count++) % log->room];
	l->n = ++vm->vcpu[vcpu].lines;
	l->vcpu = vcpu;
	l->line = *line;
}

size_t vm_log_count(const struct vm *vm)
{
	return vm->log.count;
}

uint64_t vm_log_lost(const struct vm *vm)
{
	return vm->log.lost;
}

const struct vm_line *vm_log_line(const struct vm *vm, size_t i)
{
	if (i >= vm->log.count)
		return NULL;
	return &vm->log.ring[(vm->log.first + i) % vm->log.room];
}

static const char *view_name(const struct vm *vm, uint8_t view, char buf[40])
{
	if (view == GUARD_VIEW_U)
		return "U";
	snprintf(buf, 40, "P(%s)", vm_module_name(vm, view));
	return buf;
}

void vm_log_format(const struct vm *vm, const struct vm_line *l, char *buf, size_t len)
{
	const struct guard_line *g = &l->line;
	char site[160] = "-", from[40], to[40];

	if (g->rip)
		vm_symbolize(vm, g->rip, site, sizeof(site));
	snprintf(buf, len,
		 "%" PRIu64 " vcpu=%u %s module=%s site=%s verdict=%s view=%s>%s act=%u cause=%s",
		 l->n, l->vcpu, guard_event_string(g->event),
		 g->module == GUARD_VIEW_U ? "-" : vm_module_name(vm, g->module), site,
		 guard_verdict_string(g->verdict), view_name(vm, g->from, from),
		 view_name(vm, g->to, to), g->act, guard_cause_string(g->cause));
}

bool vm_log_write(const struct vm *vm, const char *path, struct error *err)
{
	char line[512], *text = NULL;
	size_t i, size = 0;
	bool ok;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return error_set(err, "%s: out of memory", path);
	for (i = 0; i < vm->log.count; i++) {
		vm_log_format(vm, vm_log_line(vm, i), line, sizeof(line));
		fprintf(f, "%s\n", line);
	}
	if (vm->log.lost)
		fprintf(f, "lost %" PRIu64 "\n", vm->log.lost);
	if (fclose(f) != 0) {
		free(text);
		return error_set(err, "%s: out of memory", path);
	}
	ok = blob_write(path, text, size, err);
	free(text);
	return ok;
}
