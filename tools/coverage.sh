#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# `make coverage`: runs the core's unit tests in an instrumented build and demands that they reach
# every line and every branch of model/, with no markers that exclude any.
# Arguments: the instrumented build's directory, where to put the report.
set -euo pipefail
build=$1
report=$2
export LC_ALL=C

if grep -rnE 'L?GCOVR?_EXCL' model/; then
	echo 'coverage: exclusion markers are not allowed in model/' >&2
	exit 1
fi
shopt -s nullglob
sources=(tests/model_*_test.c)
if [ ${#sources[@]} -eq 0 ]; then
	echo 'coverage: there is no tests/model_*_test.c' >&2
	exit 1
fi
# Counts add up over runs: start from none. And a source that is gone no longer counts.
find "$build" -name '*.gcda' -delete
for notes in "$build"/model/*.gcno; do
	if [ ! -e "model/$(basename "$notes" .gcno).c" ]; then
		rm "$notes"
	fi
done
rm -rf "$report"
mkdir -p "$report"
status=0
BUILD=$build tests/run model_ || status=1

gcovr --root . --object-directory "$build" --filter 'model/' \
	--html-details "$report/index.html" --html-title 'Guard core' --txt "$report/lines.txt" \
	--json-summary "$report/summary.json" "$build/model"
gcovr --root . --object-directory "$build" --filter 'model/' --branches \
	--txt "$report/branches.txt" "$build/model"

# What is missing, exactly: a rounded percentage hides one branch in ten thousand.
python3 - "$report" <<'END' || status=1
import json, sys
d = sys.argv[1]
s = json.load(open(d + "/summary.json"))
bad = not s["line_total"]
for what in "line", "branch":
    total, covered = s[what + "_total"], s[what + "_covered"]
    print("%-8s %6d of %6d  %.2f %%" % (what, covered, total, 100 * covered / max(total, 1)))
    bad = bad or covered != total
if bad:
    for name, report in ("lines", "lines.txt"), ("branches", "branches.txt"):
        print("not covered (%s):" % name)
        for row in open(d + "/" + report):
            if row.startswith("model/") and " 100%" not in row and "--%" not in row:
                print("  " + row.rstrip())
sys.exit(bad)
END
echo "report: $report/index.html"
exit $status
