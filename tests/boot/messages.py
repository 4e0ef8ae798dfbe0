#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Did the kernel say the same about wrapped modules as about the originals?

    messages.py MESSAGES                   rounds of one boot: "boot-test: KIND NAME" ... "end"
    messages.py MESSAGES-1 MESSAGES-2      rounds of the same names in two boots

One line a name (in two boots: one for all that are the same): "ok: ..." or "FAIL: ..." with the
first difference. Warnings of the kernel anywhere behind the first mark fail on their own. Left out
of a comparison: times, addresses, and the lines of DROP, each with its reason.
"""
import re
import sys

# A message that tells of a fault, whoever is at fault.
BAD = re.compile(r"WARNING:|BUG:|Oops|Call Trace|general protection|unable to handle|panic|"
                 r"Invalid relocation|unwind|ORC|soft lockup|rcu.*stall|int3|invalid opcode")
DROP = [
    # what is different on purpose: the signature is lost
    re.compile(r"module verification failed: signature|taint|Modules linked in", re.I),
    # an interrupt line is enabled once, by whoever comes first
    re.compile(r"ACPI: \\_SB_\.GSI.: Enabled at IRQ"),
    # the protocol's own word, sent when it gets to it
    re.compile(r"IPv6: ADDRCONF"),
    # random addresses and speeds that the kernel measures
    re.compile(r"MB/s|random: crng"),
    # the emulated machine was slow for a moment
    re.compile(r"(hrtimer|perf): interrupt took|sched: RT throttling activated"),
    # the kernel measures its clock in the background and is done during one round or the other
    re.compile(r"^(tsc|TSC|clocksource|sched_clock)\b"),
]
ADDRESS = re.compile(r"\b(0x)?[0-9a-f]{8,16}\b")


def rounds(path):
    """{(kind, name): [line, ...]} of the file, and its lines that tell of a fault."""
    found, bad, now, seen = {}, [], None, False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            text = re.sub(r"^(<\d+>)?\[ *[\d.]+\] ?", "", line.rstrip("\n"))
            mark = re.match(r"boot-test: (.*)", text)
            if mark:
                seen = True
                words = mark.group(1).split()
                now = None if words == ["end"] else (words[0], " ".join(words[1:]))
                if now:
                    found[now] = []
                continue
            if seen and BAD.search(text):
                bad.append(f"{now}: {text}")
            if now and not any(d.search(text) for d in DROP):
                found[now].append(ADDRESS.sub("ADDR", text))
    return found, bad


def difference(a, b):
    for i in range(max(len(a), len(b))):
        x = a[i] if i < len(a) else "(nothing)"
        y = b[i] if i < len(b) else "(nothing)"
        if x != y:
            return f"'{x}' became '{y}'"
    return None


def main():
    lines, bad = rounds(sys.argv[1])
    if len(sys.argv) > 2:
        more, more_bad = rounds(sys.argv[2])
        lines.update(more)
        bad += more_bad
    names = sorted({n for k, n in lines if k == "original"})
    failed = same = 0
    for name in names:
        if ("wrapped", name) not in lines:
            what = "there is no wrapped round"
        else:
            what = difference(lines["original", name], lines["wrapped", name])
        failed += what is not None
        if what:
            print(f"FAIL: messages of {name}: {what}")
        elif len(sys.argv) > 2:
            same += 1
        else:
            print(f"ok: messages of {name}: the same {len(lines['original', name])}")
    if same:
        count = sum(len(v) for (k, _), v in lines.items() if k == "original")
        spoke = sum(1 for (k, _), v in lines.items() if k == "original" and v)
        print(f"ok: messages of {same} of {len(names)} modules are the same"
              f" ({count} lines, {spoke} modules say something)")
    for text in bad[:20]:
        print(f"FAIL: the kernel complains: {text}")
    if not names:
        print("FAIL: no rounds in the kernel's messages")
    elif not bad:
        print(f"ok: the kernel complains of nothing in {len(lines)} rounds")
    return 1 if failed or bad or not names else 0


sys.exit(main())
