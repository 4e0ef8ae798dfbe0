#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A check that is removed is missed: all rows of results/attacks.md are shown again, a claim that
# is wrong is noticed, and the whole guard holds in the same scenarios.

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

if [ "$(basename "$BUILD")" != release ]; then
	skip "the test build is made of the release build's objects"
	finish
fi
if ! env -u MAKEFLAGS -u MAKELEVEL make -s without >"$tmp/out" 2>&1; then
	fail "the test build is made, every check found once in the core" "$tmp/out"
	finish
fi
ok 0 "the test build is made, every check found once in the core"

# Every row of the list: what is shown by the oracle alone, by a crash, by an honest guest's loss, by two
# checks that back each other; argued ones are counted apart.
tools/without.py --claims >"$tmp/out" 2>&1
r=$?
grep -qE '^[0-9]+ checks: [0-9]+ shown, [0-9]+ argued, 0 open, 0 not as claimed' "$tmp/out" || r=1
[ $r -eq 0 ] || cat "$tmp/out"
ok $r "without each check of the core an attack succeeds, but for those argued: $(tail -n 1 "$tmp/out")"

# claim ROW JSON: a list in which this row claims that.
claim() {
	python3 - "$1" "$2" >"$tmp/list" <<-'END'
		import json, sys
		checks = json.load(open("tests/without-checks.json"))
		for c in checks:
		    if c["check"] == sys.argv[1]:
		        c.pop("argued", None)
		        c["shown"] = json.loads(sys.argv[2])
		json.dump(checks, sys.stdout)
	END
}
stale() {
	tools/without.py --list "$tmp/list" "$1" >"$tmp/out" 2>&1
	[ $? -eq 1 ] && grep -q "^without: $1: stale claim: $2" "$tmp/out"
	r=$?
	[ $r -eq 0 ] || cat "$tmp/out"
	ok $r "$3"
}
claim flags-df '{"scenario": "C0", "proof": "G1 entry"}'
stale flags-df 'without flags-df, C0 shows nothing' "a claim that does not hold is stale"
claim text-group '{"scenario": "X54", "proof": "G4 binding", "also": ["text-tail"]}'
stale text-group 'X54 shows G4 binding without text-group already: text-tail does not hold it' \
	"a second check that holds nothing is told"
claim flags-df '{"scenario": "E10", "proof": "G7 transparency", "why": "a refusal is no harm"}'
stale flags-df '.*a step that is not an honest guest' "a refusal that does not come is no honest guest's loss"
claim announce-moved '{"scenario": "X51", "proof": "G4 binding"}'
tools/without.py --list "$tmp/list" --learn announce-overlap announce-moved >"$tmp/out" 2>&1
[ $? -eq 1 ] && grep -q '^without: announce-moved: stale claim' "$tmp/out"
ok $? "what nothing shows stays as it is claimed, and is told, with --learn, too"
claim binding-bound '{"scenario": "C0", "proof": "G4 binding"}'
tools/without.py --list "$tmp/list" --learn binding-bound >"$tmp/out" 2>&1 &&
	tools/without.py --list "$tmp/list" binding-bound >>"$tmp/out" 2>&1
r=$?
[ $r -eq 0 ] || cat "$tmp/out"
ok $r "--learn puts what it found in the place of a stale claim"

# A refusal that nobody lists: a row less is one more.
python3 - >"$tmp/list" <<-'END'
	import json, sys
	checks = json.load(open("tests/without-checks.json"))
	json.dump([c for c in checks if c["check"] != "fetch-alias"], sys.stdout)
END
tools/without.py --list "$tmp/list" flags-df >"$tmp/out" 2>&1
[ $? -eq 2 ] && grep -q '^  model/guard.c judge_fetch bad-mapping (line [0-9]*)$' "$tmp/out"
ok $? "a refusal of the core that has no check in the list is told" "$tmp/out"

"$GUARDHOUSE" attack --without mapping-frame E6 >"$tmp/out" 2>&1
[ $? -eq 1 ] && grep -q 'G1 entry' "$tmp/out" &&
	grep -q '^without mapping-frame; mode gates; judged by: oracle alone$' "$tmp/out"
ok $? "attack --without mapping-frame E6: the oracle tells of G1"
"$GUARDHOUSE" attack E6 >"$tmp/out" 2>&1
ok $? "attack E6 with all checks: as expected"
"$GUARDHOUSE" attack --without no-such-check E6 >"$tmp/out" 2>&1
[ $? -eq 2 ] && [ "$(wc -l <"$tmp/out")" -eq 1 ]
ok $? "an unknown check: one line, exit code 2"
"$GUARDHOUSE" attack --without list | grep -q '^mapping-frame  *bad-mapping'
ok $? "--without list names checks and their verdicts"

finish
