/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of what an engine cannot show: what it says, and what is wrong in which line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/expressible.h"

static void test_lines(void **state)
{
	static const char text[] = "# what kvm cannot show\n"
				   "\n"
				   "any E11: needs another vCPU: it acts meanwhile  \n"
				   "  pvm A1-withheld:no MWAIT\r\n"
				   "svm R18: because\n"
				   "pvm R18: for another reason";
	struct inexpressible list;
	struct error err = { "" };
	const struct inexpressible_line *l;

	(void)state;
	if (!inexpressible_parse(&list, "list", text, sizeof(text) - 1, &err))
		fail_msg("%s", err.text);
	assert_int_equal(list.n, 4);
	l = inexpressible_find(&list, "pvm", "E11");
	assert_non_null(l);
	assert_string_equal(l->reason, "needs another vCPU: it acts meanwhile");
	assert_int_equal(l->line, 3);
	assert_ptr_equal(inexpressible_find(&list, NULL, "E11"), l);
	assert_string_equal(inexpressible_find(&list, "pvm", "A1-withheld")->reason, "no MWAIT");
	assert_null(inexpressible_find(&list, "svm", "A1-withheld"));
	assert_null(inexpressible_find(&list, NULL, "A1-withheld"));
	assert_null(inexpressible_find(&list, "pvm", "A1"));
	assert_null(inexpressible_find(&list, "pvm", "E1"));
	assert_string_equal(inexpressible_find(&list, "svm", "R18")->reason, "because");
	assert_string_equal(inexpressible_find(&list, "pvm", "R18")->reason, "for another reason");
	inexpressible_free(&list);

	assert_true(inexpressible_parse(&list, "list", "", 0, &err));
	assert_null(inexpressible_find(&list, "pvm", "E11"));
	inexpressible_free(&list);
}

static void wrong(const char *text, size_t len, const char *want)
{
	struct inexpressible list;
	struct error err = { "" };

	if (inexpressible_parse(&list, "list", text, len, &err))
		fail_msg("accepted: %s", text);
	if (strncmp(err.text, want, strlen(want)) != 0)
		fail_msg("%s: %s", text, err.text);
	inexpressible_free(&list);
}

#define WRONG(text, want) wrong(text, sizeof(text) - 1, want)

static void test_errors(void **state)
{
	char line[1000];

	(void)state;
	WRONG("any E11: x\nxen E12: y\n", "list:2: expected a host");
	WRONG("E11: x\n", "list:1: expected a host");
	WRONG("any\n", "list:1: expected a scenario or guest");
	WRONG("any : x\n", "list:1: expected a scenario or guest");
	WRONG("any E11 x\n", "list:1: expected a colon");
	WRONG("any E11\n", "list:1: expected a colon");
	WRONG("\n\nany E11:\n", "list:3: expected a reason");
	WRONG("any E11:   \n", "list:1: expected a reason");
	WRONG("any E11: a\033[1mb\n", "list:1: a control character");
	WRONG("any E11: a\0b\n", "list:1: a control character");
	WRONG("any E11: x\nany E11: y\n", "list:2: E11 stands already in line 1");
	WRONG("pvm E11: x\n#\nany E11: y\n", "list:3: E11 stands already in line 1");
	WRONG("any E11: x\npvm E11: y\n", "list:2: E11 stands already in line 1");
	memset(line, 'x', sizeof(line));
	wrong(line, sizeof(line), "list:1: longer than");
	line[snprintf(line, sizeof(line), "any E")] = 'x';
	line[200] = ':';
	wrong(line, 300, "list:1: expected a scenario or guest");
}

/* No more lines than there is room for, whatever the file's size. */
static void test_many_lines(void **state)
{
	struct inexpressible list;
	struct error err = { "" };
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	assert_non_null(f);
	for (unsigned i = 0; i < INEXPRESSIBLE_MAX; i++)
		fprintf(f, "any S%u: x\n", i);
	assert_int_equal(fclose(f), 0);
	assert_false(inexpressible_parse(&list, "list", text, size, &err));
	assert_non_null(strstr(err.text, "list:1024: more than"));
	inexpressible_free(&list);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_many_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
