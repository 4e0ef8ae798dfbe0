// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel module for `wrap` and `inspect`. The input's last byte chooses options, the rest is the
 * module (what follows the last section of one is dropped, so engines may cut there).
 */
#include <jansson.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "wrap/report.h"
#include "wrap/wrap.h"

enum {
	OPT_X = 3,
	OPT_NO_INNER = 4,
	OPT_FEW = 8,
	OPT_PRIVATE = 16,
	OPT_ASKS = 32,
	OPT_REPORT = 64,
	OPT_VIEWS = 128
};

static void wrap(const struct wrap_options *opt, const struct blob *in)
{
	struct wrap_result a, b;
	struct error err;

	if (!wrap_module(opt, "input", in, &a, &err))
		return;
	fuzz_must(wrap_module(opt, "input", in, &b, &err), "a second time is like the first");
	fuzz_must(a.ko.size == b.ko.size && !memcmp(a.ko.data, b.ko.data, a.ko.size),
		  "same input, same module");
	fuzz_must(a.manifest.size == b.manifest.size &&
			  !memcmp(a.manifest.data, b.manifest.data, a.manifest.size),
		  "same input, same manifest");
	fuzz_must(opt->views || report_is_wrapped("output", &a.ko), "what was wrapped says so");
	if (!opt->views)
		json_decref(report_wrapped("output", &a.ko, &err));
	wrap_result_free(&a);
	wrap_result_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const none[] = { NULL };
	static const char *const private_sections[] = { ".data", ".bss" };
	static const struct wrap_privilege asks[] = {
		{ GM_PRIV_DEVICE, "regs", 0, 0 },
		{ GM_PRIV_MSR, "pmc", 0xc1, 0xc4 },
	};
	struct wrap_options opt = { .name = "input" };
	unsigned bits = size ? data[size - 1] : 0;
	struct blob in = fuzz_blob(data, size ? size - 1 : 0);
	struct error err;

	opt.x = (enum gm_x_kind)(bits & OPT_X);
	opt.no_inner_lib = bits & OPT_NO_INNER;
	opt.views = bits & OPT_VIEWS;
	opt.entries = bits & OPT_FEW ? none : NULL;
	opt.private_sections = private_sections;
	opt.private_count = bits & OPT_PRIVATE ? 2 : 0;
	opt.privileges = asks;
	opt.privilege_count = bits & OPT_ASKS ? 2 : 0;
	if (bits & OPT_REPORT) {
		json_decref(report_module(&opt, "input", &in, &err));
		report_is_wrapped("input", &in);
	} else {
		wrap(&opt, &in);
	}
	blob_free(&in);
	return 0;
}
