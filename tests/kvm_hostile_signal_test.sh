#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# SIGINT and SIGTERM at random moments, on the KVM engine and on both: exit status, how soon, what
# is left behind. Guests that would run for ever, a row of attacks, a comparison with a log.
#
# How long, in seconds: SOAK_SECONDS; 30 where KVM_HOST is set (make test-kvm); otherwise 3. The
# moments are drawn from HOSTILE_SEED (default 1).
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/signal.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
export GUARDHOUSE_CORPUS=${GUARDHOUSE_CORPUS:-$here/corpus}
export HOSTILE_SEED=${HOSTILE_SEED:-1}

timeout 60 "$GUARDHOUSE" run hello --engine kvm >"$tmp/out" 2>"$tmp/err"
if [ $? -eq 2 ]; then
	echo "SKIP: $(tail -n 1 "$tmp/err")"
	echo '0 passed, 0 failed, 1 skipped'
	exit 0
fi

python3 - "$GUARDHOUSE" "$tmp" "$BUILD" <<'EOP'
import os, random, signal, subprocess, sys, time
guardhouse, tmp, build = sys.argv[1:]
seconds = float(os.environ.get("SOAK_SECONDS") or ("30" if os.environ.get("KVM_HOST") else "3"))
seed = int(os.environ["HOSTILE_SEED"])
rng = random.Random(seed)
passed = failed = 0

def check(ok, what, *more):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAIL:", what, *more)

# An endless guest without a compiler: one segment, `cli; 1: jmp 1b`, or the same with `hlt; nop`
# cut out for an exit storm: `1: out %al,$0x80; jmp 1b`.
def elf(path, code):
    base = 0xffffffff80100000
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + (1).to_bytes(4, "little")
    head += (base + 0x1000).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8)
    head += bytes(4) + (64).to_bytes(2, "little") + (56).to_bytes(2, "little")
    head += (1).to_bytes(2, "little") + (64).to_bytes(2, "little") + bytes(4)
    ph = (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + (0x1000).to_bytes(8, "little")
    for n in (base + 0x1000, base + 0x1000, len(code), len(code), 0x1000):
        ph += n.to_bytes(8, "little")
    with open(path, "wb") as f:
        f.write((head + ph).ljust(0x1000, b"\0") + code)

elf(tmp + "/spin", b"\xfa\xeb\xfe")
elf(tmp + "/storm", b"\xfa\xe6\x80\xeb\xfc")
budget = ["--budget", "100000000000"]
verbs = [
    (["run", tmp + "/spin", "--engine", "kvm"] + budget, False),
    (["run", tmp + "/storm", "--engine", "kvm"] + budget, False),
    (["run", tmp + "/storm", "--engine", "sim,kvm", "--log", tmp + "/log/l"] + budget, False),
    (["attack", "--engine", "kvm"], True),
    (["attack", "--engine", "sim,kvm", "--json"], True),
    (["run", "smp", "--engine", "sim,kvm", "--log", tmp + "/log/s"], True),
]
os.mkdir(tmp + "/log")
before = len(os.listdir("/proc/self/fd"))
statuses = {}
rounds = 0
end = time.time() + seconds
while time.time() < end or rounds < 8:
    args, ends = verbs[rounds % len(verbs)]
    sig = rng.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM])
    pause = rng.choice([0.02, 0.1, 0.4, 1.0]) * rng.random() * (3 if args[0] == "attack" else 1)
    p = subprocess.Popen([guardhouse] + args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    time.sleep(pause)
    what = f"round {rounds}: {sig.name} after {pause:.3f} s: {' '.join(args)}"
    p.send_signal(sig)
    sent = time.time()
    try:
        out, err = p.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        check(False, what, "hangs")
    took = time.time() - sent
    # 1: stopped. Before its handler is in place a signal ends it as any program. 0: it was done.
    statuses[p.returncode] = statuses.get(p.returncode, 0) + 1
    check(p.returncode == 1 or p.returncode == -sig or (ends and p.returncode == 0), what,
          f"exit status {p.returncode}", err[-300:])
    check(p.returncode != 1 or err.strip(), what, "ends without a word")
    check(took < 20, what, f"took {took:.1f} s")
    check(b"Sanitizer" not in err, what, err[-2000:])
    try:
        os.killpg(p.pid, 0)
        check(False, what, "left a process behind")
    except ProcessLookupError:
        check(True, what)
    left = [f for f in os.listdir(tmp + "/log") if f.count(".") != 1]
    check(not left, what, "left", *left)
    rounds += 1
check(statuses.get(1, 0) > 0, "not one signal came while a guest ran", statuses)
check(len(os.listdir("/proc/self/fd")) == before, "descriptors stay")
print(f"HOSTILE_SEED={seed}: {rounds} signals; exit statuses "
      + ", ".join(f"{s}: {n}" for s, n in sorted(statuses.items())))
# And the machine still runs guests.
p = subprocess.run([guardhouse, "run", "counter", "--engine", "kvm"], capture_output=True, timeout=120)
check(p.returncode == 0, "an honest guest afterwards", p.stderr[-300:])
print(f"{passed} passed, {failed} failed, 0 skipped")
sys.exit(failed != 0)
EOP
