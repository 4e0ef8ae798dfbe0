#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# guardhouse attack as a whole: every ID of the catalogue, the oracle on, no surprise; each race with
# 50 seeds that give different schedules; with two and four vCPUs that all run, too, and no difference.

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

# The catalogue (docs/semantics.md); a scenario ID or ID-something shows it.
catalogue="C0 C3 C4 R1 R6 R17 R18 R2 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 I1 I6 I7 I9 I14 I17 I18 E1
E2 E3 E4 E6 E7 E8 E9 E10 E11 E12 E13 E14 E15 E16 E17 E18 R3 R3d R4 R5 R7 R9 R10 R12 R16 R20 R21 R27 N1 N3 N4 D1
A1 V1 V2"

# whole OPTION...: all as expected, nothing left out
whole() {
	"$GUARDHOUSE" attack --json "$@" >"$tmp/json" 2>"$tmp/err"
	local status=$?
	[ $status -eq 0 ] || cat "$tmp/err"
	python3 - "$tmp/json" <<'END' || status=1
import json, sys
report = json.load(open(sys.argv[1]))
for row in report["attacks"]:
    if not row["ok"]:
        print("%s: expected %s, got %s: %s" % (row["id"], row["expected"], row["got"], row["failures"]))
sys.exit(report["surprises"] or report["unreadable"] or report["not_expressible"] or report["ran"] < 120)
END
	return $status
}

whole
ok $? "every attack and flow as expected, the oracle on"
# shellcheck disable=SC2086
python3 - "$tmp/json" $catalogue <<'END'
import json, sys
ids = [row["id"] for row in json.load(open(sys.argv[1]))["attacks"]]
missing = [i for i in sys.argv[2:] if not any(j == i or j.startswith(i + "-") for j in ids)]
print("missing:", *missing) if missing else None
own = [i for i in ids if i.startswith("X")]
sys.exit(bool(missing) or len(own) < 15)
END
ok $? "each ID of the catalogue is there, and at least 15 of our own"
python3 - "$tmp/json" <<'END'
import json, sys
races = [row for row in json.load(open(sys.argv[1]))["attacks"] if row["seeds"]]
bad = [row["id"] for row in races if row["seeds"] < 50 or row["schedules"] < 45]
print("too few schedules:", *bad) if bad else None
sys.exit(bool(bad) or len(races) < 5)
END
ok $? "each race: 50 seeds, at least 45 schedules"
cp "$tmp/json" "$tmp/one"
"$GUARDHOUSE" attack --seeds 3 X2 X3 X6 >"$tmp/out" 2>&1
ok $? "few seeds that do not come to every end are no surprise" "$tmp/out"
for n in 2 4; do
	whole --seeds 1 --vcpus $n
	ok $? "the same with at least $n vCPUs"
	python3 - "$tmp/one" "$tmp/json" <<'END'
import json, sys
one, many = ({r["id"]: r for r in json.load(open(f))["attacks"] if not r["seeds"]} for f in sys.argv[1:])
other = [i for i in one if many[i]["got"] != one[i]["got"]]
print("another result:", *other) if other else None
# each goes round once before the program begins and once after its end in any case
company = {i: r["company"] for i, r in many.items() if r["company"]}
idle = [i for i in company if company[i] < 10]
print("hardly any company:", *idle) if idle else None
sys.exit(bool(other or idle) or len(company) < 100)
END
	ok $? "each sync scenario gives the same; $n vCPUs ran, those that it has no thread for among them"
done

finish
