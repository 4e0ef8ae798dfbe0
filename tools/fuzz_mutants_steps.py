# SPDX-License-Identifier: GPL-2.0-only
"""Of tools/fuzz_mutants.py: how many hostile steps does a minimal input have?

A step is hostile that a kernel which keeps the rules never makes:
- one that the real core, without the bug, refuses for what the kernel did: honest flows are never refused
  (tests/fuzz_core_test.sh);
- one that no honest flow has, or with an operand that names no entry, gate, thread or register of an honest
  flow: page tables, registers, words on the stack, CPU modes, jumps. The administrator's acts and callbacks
  that fail are among them;
- one at a place where it cannot be: a call-out by whoever is not inside, a return where nothing waits.
What is doubtful counts as honest. Nothing can be left out of a minimal input, so each of them is needed there:
two are a preparation and a violation. The second line of a patch, `steps: N why`, says it instead where no
input shows it.
"""
import re

START = "start"
OUTSIDE = {START, "ret", "hypercall", "text", "heal"}  # may be outside of all modules
# Of the target core: each step that is honest, and after which ones on the same vCPU.
CORE = {
    "call": OUTSIDE | {"call", "inner", "callout", "depart", "switch", "migrate", "tail", "resume"},
    "callout": {"call", "inner", "ret", "resume"},
    "tail": {"call", "inner", "ret", "resume"},
    "inner": {"call", "inner", "ret", "resume"},
    "ret": {"call", "callout", "inner", "tail", "ret", "resume", "switch", "migrate"},
    "depart": {"call", "inner", "ret", "resume", "callout", "switch", "migrate"},
    "resume": OUTSIDE | {"depart", "resume", "switch", "migrate"},  # perhaps on another vCPU
    "switch": OUTSIDE | {"depart", "callout", "switch", "migrate", "tail"},
    "migrate": OUTSIDE | {"depart", "callout", "switch", "tail"},
    "hypercall": OUTSIDE | {"switch"},
    "text": OUTSIDE | {"switch"},
    "heal": OUTSIDE | {"switch"},
}
# Operands that only name something; every other one must be 0, or what is here.
NAMES = {"fn", "gate", "registers", "thread", "with", "cause", "vector", "saved"}
VALUES = {("hypercall", "call"): {"withdraw", "announce", "status"}, ("hypercall", "how"): {"0", "2"},
          ("text", "what"): {"other-site"}}
VCPUS = 3  # fuzz/events/core.h
DEEPER = {"call", "callout", "inner"}
# Verdicts that are no refusal, or not for what the step itself did.
FINE = {"ok", "again", "no-room", "quarantined", "withheld", "lower-failed", "raise-failed"}
SCENARIO = {"call", "callout", "return", "handler", "iret", "yield", "switch"}
KO = {"go", "op", "strike"}  # the kernel's own answers, its uses of the driver, interrupts


def refused(trace):
    """Numbers of the steps that a core refused, from what the target core prints with FUZZ_CORE_TRACE."""
    number, found = -1, set()
    for line in trace.splitlines():
        if re.match(r"[a-z]+ vcpu=\d", line):
            number += 1
        verdict = re.match(r" +vcpu=.* verdict=(\S+)", line)
        if verdict and verdict.group(1) not in FINE:
            found.add(number)
    return found


def core(text, trace):
    """(steps, hostile ones) of the text form of an input of the target core; trace: as the real core plays it."""
    before, depth, saved, hostile, count, bad = {}, 0, 0, 0, 0, refused(trace)
    for line in text.splitlines():
        word = line.split("#")[0].split()
        if not word or word[0] in ("guardhouse-core", "world", "rest"):
            continue
        count += 1
        verb, on = word[0], int(word[1][1:]) % VCPUS
        operands = dict(w.split("=", 1) for w in word[2:] if "=" in w)
        good = verb in CORE and before.get(on, START) in CORE[verb]
        for key, value in operands.items():
            good = good and (key in NAMES or key == "kind" or value in VALUES.get((verb, key), {"0"}))
        if verb == "ret" and not depth or verb == "resume" and not saved:
            good = False  # nobody waits
        hostile += not good or count - 1 in bad
        depth = max(0, depth + (verb in DEEPER) - (verb == "ret"))
        saved = max(0, saved + (verb == "depart") - (verb == "resume"))
        if verb in CORE:  # what else happens does not move the flow on
            before[on] = verb
        if verb == "migrate":
            before[int(operands.get("with", "0"), 0) % VCPUS] = verb
    return count, hostile


def scenario(text):
    """The same of a scenario's text: indented lines below `thread N` are its steps."""
    steps = [line.split() for line in text.splitlines() if line.startswith("\t") and line.split()]
    return len(steps), sum(s[0] not in SCENARIO or any("=" in w for w in s[1:]) for s in steps)


def ko(text):
    """The same of the text form of an input of the target ko."""
    verbs = [line.split()[0] for line in text.splitlines()[1:] if line.split("#")[0].split()]
    steps = [v for v in verbs if v not in ("world", "rest")]
    return len(steps), sum(v not in KO for v in steps)


def stated(patch):
    """(N, why) of a patch's second line, or None."""
    with open(patch, encoding="utf-8") as f:
        said = re.match(r"steps: (\d+) (.+)", f.read().split("\n", 2)[1])
    return (int(said.group(1)), said.group(2)) if said else None
