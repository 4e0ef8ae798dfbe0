/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every test of the core includes: cmocka, the world, and expectations that print verdicts
 * by name.
 */
#ifndef TESTS_SUPPORT_CHECK_H
#define TESTS_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/world.h"

/* The call returns exactly this verdict. */
#define expect(call, want)                                                                         \
	do {                                                                                       \
		enum guard_verdict got_ = (enum guard_verdict)(call);                              \
		if (got_ != (want))                                                                \
			fail_msg("%s: got %s, expected %s", #call, guard_verdict_string(got_),     \
				 guard_verdict_string(want));                                      \
	} while (0)

#define expect_ok(call) expect(call, GUARD_V_OK)

/* Line i of the last decision. */
#define expect_line(w, i, name, want)                                                              \
	do {                                                                                       \
		assert_in_range((i), 0, (w)->d.nlines - 1);                                        \
		if ((w)->d.line[i].event != (name) || (w)->d.line[i].verdict != (want))            \
			fail_msg("line %u is %s %s, expected %s %s", (unsigned)(i),                \
				 guard_event_string((w)->d.line[i].event),                         \
				 guard_verdict_string((w)->d.line[i].verdict),                     \
				 guard_event_string(name), guard_verdict_string(want));            \
	} while (0)

#define expect_lines(w, n) assert_int_equal((w)->d.nlines, n)
#define expect_view(w, v, m) assert_int_equal(guard_view((w)->guard, v), (m)->index)
#define expect_u(w, v) assert_int_equal(guard_view((w)->guard, v), GUARD_VIEW_U)

#endif
