#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The command line as a person or a script meets it: help, version, exit codes, JSON, Ctrl-C.
set -u
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/support/cli.sh"

json_has() {
	python3 -c '
import json, sys
j = json.load(open(sys.argv[1]))
for path in sys.argv[2:]:
    key, _, want = path.partition("=")
    v = j
    for part in key.split("."):
        v = v[int(part)] if isinstance(v, list) else v[part]
    if want and str(v) != want:
        sys.exit(f"{key} is {v}, not {want}")
' "$tmp/out" "$@" 2>>"$tmp/err"
}

gh --help
check 'guardhouse --help ends with 0' status_is 0
for verb in run attack wrap inspect bind; do
	check "--help names $verb" grep -q "^  $verb " "$tmp/out"
done
gh --version
check 'guardhouse --version ends with 0' status_is 0
check '--version names a version' grep -qE '^guardhouse [0-9]+\.[0-9]+' "$tmp/out"
gh
check 'no verb at all ends with 2' status_is 2
gh nonsense
check 'an unknown verb ends with 2 and one line' one_line_error
check 'the line names it' grep -q nonsense "$tmp/err"

for verb in run attack wrap inspect bind; do
	gh "$verb" --help
	check "$verb --help ends with 0" status_is 0
	check "$verb --help says how to use it" grep -q "guardhouse $verb" "$tmp/out"
	gh "$verb" --no-such-option
	check "$verb with an unknown option ends with 2 and one line" one_line_error
done

for bad in '' 'counter extra' 'counter --vcpus 0' 'counter --vcpus 99' 'counter --seed x' \
	'counter --x hyper' 'counter --engine kvm9' 'counter --budget -1' 'counter --seed' \
	'no-such-guest'; do
	# shellcheck disable=SC2086 # words are meant
	gh run $bad
	check "run $bad ends with 2 and one line" one_line_error
done
for bad in 'NOID' '--x nop' '--demo R3' '--seed 1x' '--demo --json' '--demo --vcpus 2' 'C0 --json --markdown' \
	'C0 --oracle --oracle-alone' 'C0 --without mode-cpl --without flags-tf'; do
	# shellcheck disable=SC2086
	gh attack $bad
	check "attack $bad ends with 2 and one line" one_line_error
done
for verb in run attack replay minimize explain export check inspect fuzz; do
	gh $verb $'no\nfile' $'or\ttwo'
	check "$verb: a path with a newline makes no second line" one_line_error
done
gh attack E8 --interrupt-every
check 'attack --interrupt-every of no honest flow ends with 2' status_is 2
check 'and says so' grep -q 'no honest flow among these' "$tmp/err"

# Before the tool, which needs the source tree, is asked.
for bad in '' '--list core' 'core --dir=' 'core --out= --mutants' 'core --mutants --time 3' 'core --budget 3' \
	'core --seeds 3' 'core --out x.md' 'core --engine' 'core --engine qemu' 'core --frob' 'core guest' 'core --time 0'; do
	# shellcheck disable=SC2086
	gh fuzz $bad
	check "fuzz $bad ends with 2 and one line" one_line_error
done
gh fuzz ''
check 'fuzz with an empty name ends with 2 and one line' one_line_error

gh run counter
check 'run counter: as expected, 0' status_is 0
check 'its console comes through' grep -q '^PASS: counter: ' "$tmp/out"
check 'its crossings are summed up' grep -qE '^[1-9][0-9]* crossings, [1-9][0-9]* refused' "$tmp/out"
gh run "$BUILD/corpus/guests/doorbell.elf" --trace
check 'run --trace: 0' status_is 0
check '--trace tells entries' grep -q ENTER-CALL "$tmp/out"
gh run counter --json
check 'run --json: 0' status_is 0
check '--json is JSON with the facts' json_has kind=guest ok=True exit.reason=guest \
	exit.status=0 events.ENTER-CALL.ok crossings console
gh run counter --log "$tmp/log"
check 'run --log writes the log' grep -qE '^1 vcpu=0 ' "$tmp/log"
gh run counter --log "$tmp/no/such/folder/log"
check 'a log that cannot be written: 2' status_is 2
check 'no temporary file stays behind' [ "$(find "$tmp" -name 'log*' | wc -l)" -eq 1 ]

# Outputs: links and modes stay, what is no regular file is written in place, inputs are safe.
out=$tmp/output
mkdir "$out"
(umask 027 && "$GUARDHOUSE" run counter --log "$out/new" >"$tmp/out" 2>"$tmp/err")
check 'a new file goes by the umask' [ "$(stat -c %a "$out/new")" = 640 ]
chmod 604 "$out/new"
ln -s new "$out/link"
gh run counter --log "$out/link"
check 'a log through a symlink: 0' status_is 0
check 'the link stays one' [ -L "$out/link" ]
check 'its target keeps its mode' [ "$(stat -c %a "$out/new")" = 604 ]
ln -s nowhere/yet "$out/dangling"
gh run counter --log "$out/dangling"
check 'a link into a folder that is not there: 2 and one line' one_line_error
mkdir "$out/nowhere"
gh run counter --log "$out/dangling"
check 'a link to a file that is not there makes it' grep -qE '^1 vcpu=0 ' "$out/nowhere/yet"
mkfifo "$out/fifo"
timeout 60 cat "$out/fifo" >"$out/from-fifo" &
reader=$!
gh run counter --log "$out/fifo"
wait $reader
check 'a log into a FIFO: 0' status_is 0
check 'the FIFO stays one' [ -p "$out/fifo" ]
check 'what went through it is the log' cmp -s "$out/new" "$out/from-fifo"
gh run counter --log "$out"
check 'a folder as log: 2 and one line, before the run' one_line_error
check 'no temporary file is left' [ -z "$(find "$out" -name '*.??????' ! -name 'from*')" ]
cp "$BUILD/corpus/guests/hello.elf" "$out/hello.elf"
gh run "$out/hello.elf" --log "$out/../output/hello.elf"
check 'a log over the guest: 2 and one line' one_line_error
check 'the guest is unharmed' cmp -s "$BUILD/corpus/guests/hello.elf" "$out/hello.elf"

cp "$BUILD/corpus/modules/counter.ko" "$out/in.ko"
ln "$out/in.ko" "$out/hard.ko"
gh wrap "$out/in.ko" -o "$out/in.ko"
check 'wrap over its input: 2 and one line' one_line_error
gh wrap "$out/in.ko" -o "$out/hard.ko"
check 'wrap over a hard link to its input: 2 and one line' one_line_error
gh wrap "$out/in.ko" -o "$out/x.ko" -m "$out/./x.ko"
check 'wrap with one name for both outputs: 2 and one line' one_line_error
check 'nothing was written' [ ! -e "$out/x.ko" ]
gh wrap "$out/in.ko" -o "$out/x.ko"
check 'wrap with two names: 0' status_is 0
gh bind --keygen "$out/key"
check 'a secret key is for its owner only' [ "$(stat -c %a "$out/key")" = 600 ]
cp "$out/key" "$out/key.copy"
gh bind "$out/x.manifest" --key "$out/key" -o "$out/key"
check 'bind over its key: 2 and one line' one_line_error
check 'the key is unharmed' cmp -s "$out/key" "$out/key.copy"
gh bind "$out/x.manifest" --key "$out/key" -o "$out/x.manifest"
check 'bind over its manifest: 2 and one line' one_line_error
gh bind "$out/x.manifest" --keygen "$out/key2" -o "$out/key2.pub"
check 'bind over the key that it makes: 2 and one line' one_line_error
check 'no key was made' [ ! -e "$out/key2" ]
gh bind --keygen "$out/key"
check 'a second key pair of one name: 2 and one line' one_line_error
check 'the first one is unharmed' cmp -s "$out/key" "$out/key.copy"
echo mine >"$out/key3.pub"
gh bind --keygen "$out/key3"
check 'a public key in the way: 2 and one line' one_line_error
check 'no secret key stays behind' [ ! -e "$out/key3" ]
check 'what was in the way does' [ "$(cat "$out/key3.pub")" = mine ]
echo mine >"$out/key4"
gh bind --keygen "$out/key4"
check 'a secret key in the way: 2 and one line' one_line_error
check 'no public key stays behind' [ ! -e "$out/key4.pub" ]
check 'what was in the way does, too' [ "$(cat "$out/key4")" = mine ]
# As on a full disk: nothing has room; the public key alone; both keys, but not the binding.
for bytes in 0 100 200; do
	python3 -c '
import os, resource, sys
n = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
os.execv(sys.argv[2], sys.argv[2:])
' $bytes "$GUARDHOUSE" bind "$out/x.manifest" --keygen "$out/key5" -o "$out/key5.binding" 2>&1 |
		cat >"$tmp/err"
	status=${PIPESTATUS[0]}
	: >"$tmp/out"
	check "no room for files of more than $bytes bytes: 2 and one line" one_line_error
	check 'nothing stays behind' [ "$(find "$out" -name 'key5*' | wc -l)" = 0 ]
done

# stdout that cannot be written.
for verb in --help --version 'run counter' 'attack --list' 'attack C0 --json'; do
	# shellcheck disable=SC2086
	timeout 60 "$GUARDHOUSE" $verb >&- 2>"$tmp/err"
	status=$?
	: >"$tmp/out"
	check "$verb without a stdout: 2 and one line" one_line_error
done
timeout 60 "$GUARDHOUSE" run counter --log "$out/closed" >&- 2>"$tmp/err"
check 'the log is not what stdout was to get' cmp -s "$out/new" "$out/closed"

# A guest whose module was never bound cannot enter it: its expectations fail.
gh run counter --x nop
check 'without crossings the claims fail: 1' status_is 1
gh run counter --budget 1000
check 'an exhausted budget: 1' status_is 1
check 'says so, and where' grep -qiE 'budget|instructions' "$tmp/err"

gh attack --list
check 'attack --list: 0' status_is 0
check 'it lists C0' grep -q '^C0 ' "$tmp/out"
gh attack C0 --json
check 'attack C0 --json: 0' status_is 0
check 'its JSON has the row' json_has surprises=0 attacks.0.id=C0 attacks.0.ok=True
gh attack C0 --markdown
check 'attack --markdown: a table' grep -q '^| C0 |' "$tmp/out"

# Scenarios by name and by path; one that expects the wrong thing is a failure with its line.
gh run C0
check 'run C0: as expected, 0' status_is 0
check 'says so in one line' grep -q '^--- C0 .*: as expected;' "$tmp/out"
gh run "$here/corpus/scenarios/R3.scn" --json --x out
check 'run of a scenario --json: 0' status_is 0
check 'its JSON has the facts' json_has kind=scenario id=R3 x=out ok=True crossings checks
gh run C0 --trace
check 'run of a scenario --trace tells call-outs' grep -q LEAVE-CALL "$tmp/out"
gh run C0 --log "$tmp/log-scn"
check 'run of a scenario --log writes the log' grep -qE '^1 vcpu=0 ' "$tmp/log-scn"
sed 's/expect LEAVE-CALL ok/expect LEAVE-CALL bad-stack/' "$here/corpus/scenarios/C0.scn" >"$tmp/wrong.scn"
gh run "$tmp/wrong.scn"
check 'a scenario with a wrong expectation: 1' status_is 1
check 'tells file and line' grep -qE "^$tmp/wrong.scn:[0-9]+: " "$tmp/out"
gh run "$tmp/wrong.scn" --json
check 'the same with --json: 1' status_is 1
check 'its JSON has the failure' json_has ok=False failure.0.line failure.0.text

# What a step waited for, or did not find; a scenario that expects nothing.
printf 'scenario T1\ntitle t\nclass sync\nvcpus 1\nmodule counter\n\nthread 0\n\tcr3 9\n' >"$tmp/cr3.scn"
gh run "$tmp/cr3.scn"
check 'cr3 of no space: 1' status_is 1
check 'says which' grep -q 'cr3 9: there is no such address space' "$tmp/out"
printf 'scenario T2\ntitle t\nclass sync\nvcpus 1\nmodule counter\n\nthread 0\n\tawait8 @stack 77\n' >"$tmp/await.scn"
gh run "$tmp/await.scn"
check 'await8 in vain: 1' status_is 1
check 'says for what' grep -q 'await8 @stack 77: it never had this value at 0x' "$tmp/out"
printf 'scenario T3\ntitle t\nclass sync\nvcpus 1\nmodule counter\n\nthread 0\n\tflush 4096\n' >"$tmp/empty.scn"
gh run "$tmp/empty.scn"
check 'a scenario that expects nothing: 1' status_is 1
check 'says so' grep -q 'nothing is expected' "$tmp/out"
mkdir -p "$tmp/empty/scenarios" "$tmp/empty/puppet"
cp "$tmp/empty.scn" "$tmp/empty/scenarios"
cp "$BUILD/corpus/puppet/puppet.elf" "$tmp/empty/puppet"
cp -r "$BUILD/corpus/modules" "$tmp/empty"
GUARDHOUSE_CORPUS=$tmp/empty gh attack
check 'attack, too: 1' status_is 1

# A guest that only a benchmark can answer.
gh run bench
check 'run bench: 1' status_is 1
check 'says which vCPU and where' grep -qE '^guardhouse run: vCPU 0 at [^ ?]+: a host call' "$tmp/err"

# JSON of what is no number or text for it.
gh run counter --seed 18446744073709551615 --json
check 'the largest seed: 0' status_is 0
check 'is told as it was given' json_has seed=18446744073709551615
cp "$BUILD/corpus/guests/hello.elf" "$tmp/"$'h\xe9llo.elf'
gh run "$tmp/"$'h\xe9llo.elf' --json
check 'a path that is no UTF-8: 0' status_is 0
check 'has a ? there' json_has "input=$tmp/h?llo.elf"
# So do inspect and bind, for each kind of file; people, and errors, get the name as it is.
odd=$tmp/$'\xe9'
mkdir "$odd"
cp "$BUILD/corpus/modules/counter.ko" "$odd/c.ko"
gh wrap "$odd/c.ko" --output "$odd/w.ko" --manifest "$odd/m"
check 'wrap in a folder whose name is not UTF-8: 0' status_is 0
gh bind --keygen "$odd/k" "$odd/m" --output "$odd/b"
check 'bind there: 0' status_is 0
for file in c.ko w.ko b; do
	gh inspect "$odd/$file" --json
	check "inspect $file --json there: 0" status_is 0
	check 'has a ? there, too' json_has "file=$tmp/?/$file"
	gh inspect "$odd/$file"
	check "inspect $file there: 0" grep -qaF "$odd/$file: " "$tmp/out"
done
gh inspect "$odd/m" --json
check 'inspect of a manifest there, --json: 0' status_is 0
gh inspect "$odd/m"
check 'and in words: 0' grep -qaF "$odd/m: manifest of c" "$tmp/out"
gh bind --show "$odd/b" --pub "$odd/k.pub" --json
check 'bind --show --json there' json_has "file=$tmp/?/b" verified=True
head -c 700 "$odd/c.ko" >"$odd/short.ko"
gh inspect "$odd/short.ko" --json
check 'a short file there: 2' status_is 2
check 'its name as it is' grep -qaF "$odd/short.ko: offset " "$tmp/err"
gh attack --list --json
check 'attack --list --json: 0' status_is 0
check 'is JSON' json_has 0.id 0.title 9.id

# IDs of the table can be typed back.
id=$(cd "$here/corpus/scenarios" && sed -n 's/^scenario \([^ ]*\).*/\1/p' ./*.scn |
	awk 'length($0) > n { n = length($0); id = $0 } END { print id }')
gh attack "$id"
check "attack $id: its row has the whole ID" grep -q "^$id " "$tmp/out"

# The demo of `make run`.
env -u GUARDHOUSE_CORPUS GUARDHOUSE="$GUARDHOUSE" timeout 120 sh "$here/tools/demo.sh" \
	>"$tmp/out" 2>"$tmp/err"
status=$?
check 'tools/demo.sh finds the corpus for a build anywhere: 0' status_is 0
gh attack --demo
check 'attack --demo: 0' status_is 0
check 'it tells crossings, guests and attacks' grep -qE '^[1-9][0-9]* attacks and flows, 0 surprises' "$tmp/out"

# A corpus elsewhere, and none at all.
mkdir -p "$tmp/corpus/guests"
cp "$BUILD/corpus/guests/hello.elf" "$tmp/corpus/guests/elsewhere.elf"
GUARDHOUSE_CORPUS=$tmp/corpus gh run elsewhere
check 'GUARDHOUSE_CORPUS names a corpus' status_is 0
cp "$GUARDHOUSE" "$tmp/alone"
env -u GUARDHOUSE_CORPUS timeout 60 "$tmp/alone" attack C0 >"$tmp/out" 2>"$tmp/err"
status=$?
if grep -q 'looked in' "$tmp/err" || [ $status -ne 0 ]; then
	check 'a binary without a corpus: 2 and one line' one_line_error
else
	skipped=$((skipped + 1))
	echo 'SKIP: a binary without a corpus: guardhouse is installed here, so it found that one'
fi

# A real driver.
ko=$here/build/debian/e1000e.ko
if [ -f "$ko" ]; then
	gh run --module "$ko" --json
	check 'run --module e1000e --json: 0' status_is 0
	check 'its JSON has the facts' json_has kind=module module=e1000e ok=True probe_called=True \
		outside_written=0 entries.e1000_probe imports verdicts
	gh attack --module "$ko" E2 R3
	check 'attack --module E2 R3: 0' status_is 0
	check 'two attacks, both as expected' grep -q '^2 of 2 as expected' "$tmp/out"
	gh attack --module "$ko" E2 --json
	check 'attack --module --json: a row' json_has surprises=0 attacks.0.id=E2 attacks.0.kept=True
	gh attack --module "$ko" NOID
	check 'attack --module with an unknown ID: 2 and one line' one_line_error
	gh attack --module "$ko" --list
	check 'attack --module --list' grep -q '^E7 ' "$tmp/out"
else
	skipped=$((skipped + 6))
	echo 'SKIP: no build/debian/e1000e.ko: make corpus-debian fetches it'
fi

# Ctrl-C, on a guest that is inside a module and never ends by itself.
cat >"$tmp/spin.c" <<'EOF'
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
GUARDHOUSE("module counter\\n");
int main(void)
{
	static volatile long flag;
	module_init("counter");
	return (int)ENTRY("counter", counter_wait)(&flag, 1l << 40);
}
EOF
if ${CC:-gcc} -std=gnu11 -I"$here" -O2 -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mno-sse \
	-fno-stack-protector -fcf-protection=none -nostdlib -static -no-pie -Wl,--build-id=none \
	-Wl,-z,noexecstack -Wl,-T,"$here/corpus/lib/guest.ld" "$tmp/spin.c" \
	"$BUILD"/corpus/lib/*.o -o "$tmp/spin.elf" 2>"$tmp/err"; then
	for sig in INT TERM; do
		# From Python: a background job of a shell ignores SIGINT.
		python3 - "$GUARDHOUSE" "$tmp/spin.elf" "$tmp/log-$sig" "$sig" >"$tmp/out" 2>"$tmp/err" <<'EOF'
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
p = subprocess.Popen([sys.argv[1], "run", sys.argv[2], "--log", sys.argv[3],
                      "--budget", "100000000000"], stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE, text=True,
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
time.sleep(1.5)
p.send_signal(getattr(signal, "SIG" + sys.argv[4]))
out, err = p.communicate(timeout=20)
print(out)
print(err, file=sys.stderr)
sys.exit(p.returncode)
EOF
		status=$?
		check "SIG$sig ends a run with 1" status_is 1
		check "SIG$sig: says which vCPU and where" grep -q 'vCPU 0 at counter:counter_wait+' "$tmp/err"
		check "SIG$sig: tells the last crossings" \
			grep -q 'ENTER-CALL counter:enter/counter_wait' "$tmp/err"
		check "SIG$sig: the log is whole" [ -f "$tmp/log-$sig" ]
		check "SIG$sig: nothing half-written stays" \
			[ "$(find "$tmp" -name 'log-*.*' | wc -l)" -eq 0 ]
	done
else
	check 'a guest for Ctrl-C can be built' false
fi

# Ctrl-C on a row of runs: stops at once and says what was done.
interrupt() {
	python3 - "$@" >"$tmp/out" 2>"$tmp/err" <<'EOP'
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
p = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
time.sleep(float(sys.argv[1]))
p.send_signal(signal.SIGINT)
start = time.time()
out, err = p.communicate(timeout=60)
print(out)
print(err, file=sys.stderr)
sys.exit(p.returncode if time.time() - start < 10 else 99)
EOP
	status=$?
}
interrupt 0.1 "$GUARDHOUSE" attack --demo
check 'Ctrl-C ends attack --demo with 1' status_is 1
check 'it says what was done' grep -qE 'interrupted after [0-9]+ guests and [0-9]+ attacks' "$tmp/err"
check 'and does not sum up' bash -c "! grep -q surprises '$tmp/out'"
interrupt 0.1 "$GUARDHOUSE" attack
check 'Ctrl-C ends attack with 1' status_is 1
check 'it says after how many' grep -qE 'interrupted after [0-9]+ of [0-9]+' "$tmp/err"
check 'what was cut off is no surprise' bash -c "! grep -q SURPRISE '$tmp/out'"
if [ -f "$ko" ]; then
	interrupt 0.2 "$GUARDHOUSE" attack --module "$ko"
	check 'Ctrl-C ends attack --module with 1' status_is 1
	check 'it says after how many' grep -qE 'interrupted after [0-9]+ of [0-9]+' "$tmp/err"
	check 'and does not count those that did not run' \
		bash -c "! grep -qE '^([0-9]+) of \\1 as expected' '$tmp/out'"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
