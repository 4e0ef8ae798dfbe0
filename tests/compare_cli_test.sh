#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# --engine A,B on the command line, with the simulator as both: what is printed, written, refused,
# and when a comparison fails. And: a scenario that cannot be read stops no other.
set -u
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/support/cli.sh"

json_is() {
	python3 -c '
import json, sys
j = json.load(open(sys.argv[1]))
assert eval(f"({sys.argv[2]})"), sys.argv[2]
' "$tmp/out" "$1" 2>>"$tmp/err"
}

for bad in 'sim,' ',sim' 'sim,none' 'sim,sim,sim' ',' 'sim sim' 'simsim' 's'; do
	gh run counter --engine "$bad"
	check "run --engine '$bad': 2 and one line" one_line_error
	gh attack C0 --engine "$bad"
	check "attack --engine '$bad': 2 and one line" one_line_error
done
gh run counter --engine sim,sim --trace
check 'two engines and --trace: 2 and one line' one_line_error
gh attack --engine sim,sim --list
check 'two engines and --list: 2 and one line' one_line_error

gh run counter --engine sim,sim
check 'a guest on two engines: 0' status_is 0
check 'says how each run ended' [ "$(grep -c 'counter.elf on sim: exit status 0' "$tmp/out")" -eq 2 ]
check 'says how many lines were compared' \
	grep -qE '^--- sim, sim: the verdict logs are equal; [1-9][0-9]* lines compared' "$tmp/out"
check 'and what was left out' grep -qE '^ +left out: nothing' "$tmp/out"
gh run smp --engine sim,sim --log "$tmp/log"
check 'a guest with interrupts: 0' status_is 0
check 'tells what was left out by class' \
	grep -qE 'left out \(sim/sim\): [1-9][0-9]*/[1-9][0-9]* DEPART by interrupt, .* RESUME after these' "$tmp/out"
check '--log writes one for each engine' cmp -s "$tmp/log.sim-1" "$tmp/log.sim-2"
check 'they are verdict logs' grep -q '^1 vcpu=0 ' "$tmp/log.sim-1"
gh run smp --engine sim,sim --log "$tmp/no/such/place"
check 'a log that cannot be written: 2 and one line' one_line_error
gh run hello --engine sim,sim
check 'nothing to compare: 1' status_is 1
check 'says so' grep -q 'no line of the logs can be compared' "$tmp/out"
gh run R3 --engine sim,sim
check 'a scenario on two engines: 0' status_is 0
check 'both as expected' [ "$(grep -c 'R3.scn on sim: as expected' "$tmp/out")" -eq 2 ]

gh run counter --engine sim,sim --json
check 'run --json: 0' status_is 0
check 'run --json tells the comparison' json_is \
	"j['ok'] and j['comparison']['result'] == 'equal' and j['comparison']['compared'] > 100 and
	 j['comparison']['logs'][0]['lines'] == j['comparison']['logs'][1]['lines'] and
	 j['comparison']['logs'][1]['left_out']['DEPART by kick'] == 0 and len(j['runs']) == 2"
gh run hello --engine sim,sim --json
check 'nothing to compare is told in JSON' json_is \
	"not j['ok'] and j['comparison']['result'] == 'nothing-compared'"

gh attack C0 R3 --engine sim,sim
check 'attacks on two engines: 0' status_is 0
check 'a row says what was compared' grep -qE '^R3 .* [1-9][0-9]* +[0-9]+/[0-9]+ .* equal$' "$tmp/out"
check 'the end sums up' grep -qE '^[0-9]+ of [0-9]+ as expected on both and equal \(sim, sim; 2 IDs' "$tmp/out"
check 'with what was compared' grep -qE '^[1-9][0-9]* lines compared; left out' "$tmp/out"
gh attack C0 --engine sim,sim --json
check 'attack --json' json_is \
	"j['ids'] == 1 and j['compared'] > 5 and j['surprises'] == 0 and
	 j['attacks'][0]['comparison']['result'] == 'equal'"

# A scenario whose expectation fails: what is wrong, and no claim of being equal to hide it.
mkdir -p "$tmp/corpus/scenarios"
for d in puppet modules guests; do
	ln -s "$(realpath "$BUILD")/corpus/$d" "$tmp/corpus/$d"
done
cp "$here/corpus/scenarios/C0.scn" "$tmp/corpus/scenarios/C0.scn"
sed 's/^scenario C0/scenario C0-wrong/; 0,/expect ENTER-CALL ok/s//expect ENTER-CALL bad-mode/' \
	"$here/corpus/scenarios/C0.scn" >"$tmp/corpus/scenarios/C0-wrong.scn"
export GUARDHOUSE_CORPUS=$tmp/corpus
gh attack --engine sim,sim
check 'a surprise: 1' status_is 1
check 'the row says where' grep -qE '^C0-wrong .* SURPRISE on sim and sim$' "$tmp/out"
check 'the other one is equal' grep -qE '^C0 .* equal$' "$tmp/out"

# A file that is no scenario.
echo 'scenario Z9' >"$tmp/corpus/scenarios/Z9.scn"
rm "$tmp/corpus/scenarios/C0-wrong.scn"
for engine in sim sim,sim; do
	gh attack --engine $engine
	check "$engine: an unreadable scenario among others: 2" status_is 2
	check "$engine: it is named, in one line" [ "$(grep -c 'Z9.scn' "$tmp/err")" -eq 1 ]
	check "$engine: the others ran" grep -qE '^C0 ' "$tmp/out"
	gh attack C0 --engine $engine
	check "$engine: it does not stop another: 0" status_is 0
	check "$engine: nor is it told" [ ! -s "$tmp/err" ]
	gh attack Z9 --engine $engine
	check "$engine: asked for by its name: 2" status_is 2
	check "$engine: it is named" grep -q 'Z9.scn' "$tmp/err"
	check "$engine: and not said to be unknown" bash -c "! grep -q 'no scenario has this ID' '$tmp/err'"
done
gh attack --list
check '--list: 2' status_is 2
check '--list lists the rest' grep -q '^C0 ' "$tmp/out"
gh attack NOID
check 'an ID that is not there: 2 and one line' one_line_error

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
