// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each section of a module is to the guard. A loaded section whose name is not listed here is
 * refused: guessing what a kernel does with it would be guessing what may change under the guard.
 *
 * Tables that only the kernel reads (and sorts, or patches in place: ORC, exception table) become
 * writable and so lie in the data category: the guard verifies what the module itself executes or
 * reads as a constant, and nothing else.
 */
#include "wrap/module.h"

#include <string.h>

struct role_rule {
	const char *name; /* a '*' at the end: any rest */
	enum role role;
};

static const struct role_rule rules[] = {
	/* code */
	{ ".text", ROLE_TEXT },
	{ ".text.*", ROLE_TEXT },
	{ ".init.text*", ROLE_TEXT },
	{ ".exit.text*", ROLE_TEXT },
	{ ".ref.text", ROLE_TEXT },
	{ ".noinstr.text", ROLE_TEXT },
	{ ".sched.text", ROLE_TEXT },
	{ ".altinstr_aux", ROLE_TEXT },
	{ ".altinstr_replacement", ROLE_SPARE },
	{ ".static_call.text", ROLE_TRAMP },
	/* constants */
	{ ".rodata*", ROLE_RODATA },
	{ ".init.rodata*", ROLE_RODATA },
	{ ".exit.rodata*", ROLE_RODATA },
	{ "__tracepoints_strings", ROLE_RODATA },
	{ ".BTF_ids", ROLE_RODATA },
	/* not loaded although marked so: the kernel only parses them */
	{ ".modinfo", ROLE_OTHER },
	{ "__versions", ROLE_OTHER },
	{ ".eh_frame", ROLE_OTHER },
	/* tables of patches that must not happen to a wrapped module */
	{ "__mcount_loc", ROLE_EMPTIED },     /* __fentry__ leads to an inner return */
	{ ".retpoline_sites", ROLE_EMPTIED }, /* would replace calls of thunks by raw branches */
	{ ".return_sites", ROLE_EMPTIED },    /* would warn: they lead to the inner return thunk */
	{ ".smp_locks", ROLE_EMPTIED },	      /* LOCK prefixes stay, also on one CPU */
	{ ".static_call_sites", ROLE_EMPTIED }, /* would undo a retargeted call */
	{ ".parainstructions", ROLE_EMPTIED },	/* would call past the gate */
	/* the kernel's own */
	{ ".orc_unwind", ROLE_TABLE },
	{ ".orc_unwind_ip", ROLE_TABLE },
	{ "__ex_table", ROLE_TABLE },
	{ "__param", ROLE_TABLE },
	{ "__ksymtab*", ROLE_TABLE },
	{ "__kcrctab*", ROLE_TABLE },
	{ ".note.*", ROLE_TABLE },
	{ "__bug_table", ROLE_TABLE },
	{ "__jump_table", ROLE_TABLE },
	{ ".altinstructions", ROLE_TABLE },
	{ "__tracepoints_ptrs", ROLE_TABLE },
	{ "___srcu_struct_ptrs", ROLE_TABLE },
	{ ".gnu.linkonce.this_module", ROLE_TABLE },
	/* memory */
	{ ".data..percpu", ROLE_PERCPU },
	{ ".data", ROLE_DATA },
	{ ".data.*", ROLE_DATA },
	{ ".data..*", ROLE_DATA },
	{ ".bss*", ROLE_DATA },
	{ ".init.data*", ROLE_DATA },
	{ ".exit.data*", ROLE_DATA },
	{ ".ref.data", ROLE_DATA },
	{ "__dyndbg", ROLE_DATA },
	{ "__dyndbg_classes", ROLE_DATA },
	{ "__tracepoints", ROLE_DATA },
	{ "__tracepoint_str", ROLE_DATA },
	{ "__bpf_raw_tp_map", ROLE_DATA },
	{ "_ftrace_events", ROLE_DATA },
	{ "_ftrace_eval_map", ROLE_DATA },
};

/*
 * A module that stays as it is gets all of its tables read and applied; what is in executable pages
 * has to be verified with the code there.
 */
static enum role role_unwrapped(enum role role, const char *name)
{
	if (role == ROLE_EMPTIED || strcmp(name, ".eh_frame") == 0)
		return ROLE_TABLE;
	return role;
}

static bool matches(const char *rule, const char *name)
{
	size_t n = strlen(rule);

	if (rule[n - 1] == '*')
		return strncmp(rule, name, n - 1) == 0;
	return strcmp(rule, name) == 0;
}

static bool is_private(const struct module *m, const char *name)
{
	if (strcmp(name, ".guard_private") == 0)
		return true;
	for (size_t i = 0; i < m->opt->private_count; i++)
		if (strcmp(name, m->opt->private_sections[i]) == 0)
			return true;
	return false;
}

static bool assign(struct module *m, uint32_t index)
{
	struct section *s = &m->sections[index];
	uint64_t at = m->elf.eh.e_shoff + index * sizeof(s->hdr), flags = s->hdr.sh_flags;
	const uint64_t known = SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR | SHF_MERGE | SHF_STRINGS |
			       SHF_INFO_LINK | SHF_LINK_ORDER;
	bool found = false;

	if (!(flags & SHF_ALLOC))
		return true;
	if (is_private(m, s->name)) {
		s->role = ROLE_PRIVATE;
		found = true;
	}
	for (size_t i = 0; !found && i < sizeof(rules) / sizeof(rules[0]); i++)
		if (matches(rules[i].name, s->name)) {
			s->role = m->opt->views ? role_unwrapped(rules[i].role, s->name)
						: rules[i].role;
			found = true;
		}
	if (!found)
		return refuse(m, at, "section %s is loaded, but its purpose is not known", s->name);
	/* by its flags the kernel places it, whatever its name */
	if (s->role == ROLE_RODATA && flags & SHF_WRITE)
		s->role = ROLE_DATA;
	if (flags & ~known)
		return refuse(m, at, "section %s: flags 0x%llx are not known", s->name,
			      (unsigned long long)(flags & ~known));
	if (s->hdr.sh_type != SHT_PROGBITS && s->hdr.sh_type != SHT_NOBITS &&
	    s->hdr.sh_type != SHT_NOTE && s->hdr.sh_type != SHT_X86_64_UNWIND)
		return refuse(m, at, "section %s is loaded, but its type %u is not known", s->name,
			      s->hdr.sh_type);
	if (s->hdr.sh_addralign > GM_PAGE)
		return refuse(m, at, "section %s wants alignment 0x%llx, more than a page", s->name,
			      (unsigned long long)s->hdr.sh_addralign);
	if (!(flags & SHF_EXECINSTR) != (!section_is_code(s) && s->role != ROLE_TRAMP))
		return refuse(m, at, "section %s: code where data is expected, or the reverse",
			      s->name);
	if ((section_is_code(s) || s->role == ROLE_TRAMP || s->role == ROLE_RODATA) &&
	    (flags & SHF_WRITE || s->hdr.sh_type == SHT_NOBITS))
		return refuse(m, at, "section %s is writable or without contents", s->name);
	if ((s->role == ROLE_DATA || s->role == ROLE_PRIVATE || s->role == ROLE_PERCPU) &&
	    !(flags & SHF_WRITE))
		return refuse(m, at, "section %s is not writable", s->name);
	if (s->hdr.sh_size > (uint64_t)GM_MAX_PAGES * GM_PAGE)
		return refuse(m, at, "section %s of 0x%llx bytes: more than a module has", s->name,
			      (unsigned long long)s->hdr.sh_size);
	return true;
}

/*
 * Gives every section a role and makes the change of flags and alignment that follows from it.
 * false: a loaded section that is not understood.
 */
bool roles_assign(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];

		if (!assign(m, i))
			return false;
		if (m->opt->views && s->role != ROLE_PRIVATE)
			continue;
		if (s->role == ROLE_TABLE || s->role == ROLE_SPARE)
			s->hdr.sh_flags |= SHF_WRITE;
		if (s->role == ROLE_SPARE)
			s->hdr.sh_flags &= ~(uint64_t)SHF_EXECINSTR;
		if (s->role == ROLE_PRIVATE) {
			if (section_is_init(s))
				return refuse(m, file_at(s, 0),
					      "%s cannot be private: it is freed after init",
					      s->name);
			if (s->nrels)
				return refuse(m, s->rels[0].file,
					      "relocation in private section %s: the guard fills "
					      "private memory from the manifest",
					      s->name);
			/* whole pages of its own: private frames hide what lies beneath them */
			if (!m->opt->views)
				s->hdr.sh_addralign = GM_PAGE;
		}
		/* nothing in a guest reads it, and its relocations would outlive the code */
		if (strcmp(s->name, ".eh_frame") == 0)
			s->hdr.sh_flags &= ~(uint64_t)SHF_ALLOC;
	}
	return true;
}
