#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which faults of the core does the oracle see by itself, and which of them does nobody see?

The mutants are those of tools/mutants.py: every condition in model/ forced to true and to false. A
`guardhouse` is linked with the rewritten core; for each mutant the scenarios run whose execution it
changes. First the oracle's word alone counts: a failed `expect` line, the reference model, a crash or
an endless run is no catch. What the oracle does not see is run again with all judges on: `expect`
lines, the reference model, the oracle, a crash, a limit on time. What lives through that, too, goes to
the core's unit tests. What is left must be argued in tests/mutants-equivalent.txt.

Writes the tables to --out. Fails if the oracle alone catches fewer than --least, or if one survives
all judges and is not argued.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mutants as core  # noqa: E402

# An instance of Unicorn reserves 1 GB of addresses.
RUNTIME_C = core.RUNTIME_C.replace("4ul << 30", "256ul << 30")


def build(args, sources, count, tmp):
    """A `guardhouse` with the rewritten core."""
    for source in sources:
        path = os.path.join(tmp, source.file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(source.rewritten())
    for name, text in ("gm.h", core.RUNTIME_H), ("gm.c", RUNTIME_C):
        with open(os.path.join(tmp, name), "w", encoding="utf-8") as f:
            f.write(text)
    cc = args.cc.split()
    core.run(cc + ["-O1", "-DGM_COUNT=%d" % (count + 1), "-c", "gm.c", "-o", "gm.o"], "compile the switch", tmp)
    objects = [os.path.join(tmp, "gm.o")]
    for source in sources:
        if source.file.endswith(".c"):
            o = source.file[:-2] + ".o"
            core.run(
                cc + args.cflags.split() + ["-O1", "-w", "-include", "gm.h", "-c", source.file, "-o", o],
                "compile the rewritten " + source.file,
                tmp,
            )
            objects.append(os.path.join(tmp, o))
    for folder in args.dirs.split():
        for c in sorted(glob.glob(folder + "/*.c")):
            objects.append(os.path.join(args.build, c[:-2] + ".o"))
    # It looks for modules and puppet beside itself, for scenarios two folders up.
    os.makedirs(os.path.join(tmp, "build", "mutants"))
    out = os.path.join(tmp, "build", "mutants", "guardhouse")
    core.run(cc + args.ldflags.split() + objects + args.ldlibs.split() + ["-o", out], "link guardhouse")
    os.symlink(os.path.abspath(os.path.join(args.build, "corpus")), os.path.join(tmp, "build", "mutants", "corpus"))
    os.symlink(os.path.abspath("corpus"), os.path.join(tmp, "corpus"))
    return out


CHUNK = 12  # scenarios in one process


class Endless(Exception):
    """A mutant that makes the simulator run for ever."""


class Attack:
    """Runs scenarios by their IDs with one mutant on."""

    def __init__(self, program):
        self.program = program
        self.died = threading.local()

    def rows(self, ids, timeout, judge=(), **env):
        """The table as JSON; None if there is none: see self.died.value."""
        command = [self.program, "attack", "--json", *judge] + ids
        try:
            done = subprocess.run(
                command,
                env=dict(os.environ, **env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Endless() from None
        self.died.value = done.returncode < 0
        try:
            return json.loads(done.stdout)["attacks"]
        except (ValueError, KeyError, TypeError):
            return None

    def alone(self, ids, number):
        """(scenario, what the oracle said) of the first catch by the oracle alone, or None."""
        judge = ["--oracle-alone"]
        for some in chunks(ids):
            try:
                rows = self.rows(some, 10 + len(some), judge, GUARD_MUTANT=str(number))
                if rows is None:  # it crashed: which of them still have something to say?
                    rows = [r for one in some for r in self.rows([one], 10, judge, GUARD_MUTANT=str(number)) or []]
            except Endless:
                return None
            for row in rows:
                if row.get("oracle"):
                    return row["id"], said(row)
        return None

    def all(self, ids, number):
        """(scenario, who notices) of the first scenario that is not as without the mutant, or None."""
        for some in chunks(ids):
            try:
                rows = self.rows(some, 10 + len(some), GUARD_MUTANT=str(number))
            except Endless:
                return some[0], "endless"
            if rows is None:
                return some[0], "crash" if self.died.value else "does not even start"
            for row in rows:
                if not row.get("ok", True):
                    return row["id"], said(row) if row.get("oracle") else "expectation"
        return None


def chunks(ids):
    return [ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK)]


def said(row):
    return row["oracle"].splitlines()[0].split(": ", 1)[1]


def judged(attack, ids, number):
    """('alone' or 'all' or '', scenario, who) for one mutant."""
    found = attack.alone(ids, number)
    if found:
        return ("alone",) + found
    found = attack.all(ids, number)
    return ("all",) + found if found else ("", "", "")


def by_unit_tests(args, sources, count, survivors, tmp):
    """For each survivor the result of the core's unit tests: killed, stopped, survived."""
    folder = os.path.join(tmp, "unit")
    os.makedirs(folder)
    here = os.getcwd()
    programs = core.build(args, sources, count, folder)
    os.chdir(here)
    core.baseline(programs, count, folder)
    return {n: core.judge(programs, n) for n in survivors}


def label(mutants, n):
    key = mutants[n][0].split(":", 2)
    condition, value = key[2].rsplit(":", 1)
    return "`%s` `%s()`: `%s` %s" % (key[0], key[1], condition.replace("|", "\\|"), value)


def report(args, mutants, told, results, unit, arguments):
    lines = ["# Faults of the core that the oracle sees by itself", ""]
    lines += ["Written by `make oracle-mutants`; how: `tools/oracle_mutants.py`.", ""] + told
    lines += ["", "## Seen by the oracle alone", "", "Expectations of the scenarios do not count here,"]
    lines += ["nor does the reference model.", ""]
    lines += ["| fault of the core (file, function, condition, forced to) | seen in | as |", "|---|---|---|"]
    for n in sorted(results):
        if results[n][0] == "alone":
            lines.append("| %s | %s | %s |" % ((label(mutants, n),) + results[n][1:]))
    lines += ["", "## Seen by the other judges in a scenario", ""]
    lines += ["| fault of the core | seen in | by |", "|---|---|---|"]
    for n in sorted(results):
        if results[n][0] == "all":
            lines.append("| %s | %s | %s |" % ((label(mutants, n),) + results[n][1:]))
    lines += ["", "## Seen in no scenario", ""]
    lines += ["| fault of the core | the unit tests |", "|---|---|"]
    for n in sorted(unit):
        text = "notice it" if unit[n] != "survived" else "no: argued" if mutants[n][0] in arguments else "**no**"
        lines.append("| %s | %s |" % (label(mutants, n), text))
    with open(args.out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Which faults of the core does the oracle see alone?")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cflags", required=True, help="of the core")
    parser.add_argument("--ldflags", required=True)
    parser.add_argument("--ldlibs", required=True)
    parser.add_argument("--dirs", required=True, help="folders whose objects make up the program")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=int, metavar="N", help="N of the mutants, by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=int, default=20)
    parser.add_argument("--out", metavar="FILE", help="write the tables there")
    args = parser.parse_args()

    sources, mutants, count = core.find(sorted(glob.glob("model/*.[ch]")))
    arguments = core.argued()
    tmp = os.path.abspath(tempfile.mkdtemp(prefix="oracle-mutants."))
    start = time.monotonic()
    try:
        attack = Attack(build(args, sources, count, tmp))
        rows = attack.rows([], 300)
        if not rows:
            raise core.Bad("the scenarios do not run")
        bad = [r["id"] for r in rows if "ok" in r and not r["ok"]]
        if bad:
            raise core.Bad("without a mutant these are not as expected: " + " ".join(bad))
        sees = {}
        ids = [r["id"] for r in rows if "ok" in r]
        for one in ids:
            seen = os.path.join(tmp, "seen")
            with open(seen, "wb") as f:
                f.truncate(count + 1)
            attack.rows([one], 60, GUARD_MUTANT_SEEN=seen)
            with open(seen, "rb") as f:
                sees[one] = f.read()
        chosen = [n for n in sorted(mutants) if any(sees[i][n] for i in ids)]
        reached = len(chosen)
        if args.sample and args.sample < len(chosen):
            chosen = sorted(random.Random(args.seed).sample(chosen, args.sample))
        results = {}
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            work = {pool.submit(judged, attack, [i for i in ids if sees[i][n]], n): n for n in chosen}
            for done in concurrent.futures.as_completed(work):
                results[work[done]] = done.result()
                if sys.stderr.isatty():
                    n = sum(r[0] == "alone" for r in results.values())
                    sys.stderr.write("\r%d of %d, %d by the oracle alone " % (len(results), len(chosen), n))
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        unit = by_unit_tests(args, sources, count, [n for n in chosen if not results[n][0]], tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)

    alone = sum(r[0] == "alone" for r in results.values())
    survive = [n for n in unit if unit[n] == "survived"]
    alive = [n for n in survive if mutants[n][0] not in arguments]
    told = [
        "%d mutants, %d of them change a value in some scenario, %d tried." % (len(mutants), reached, len(chosen)),
        "The oracle alone caught %d; all judges together %d in the scenarios, %d more in the unit tests of the core."
        % (alone, len(chosen) - len(unit), len(unit) - len(survive)),
        "%d survive and are argued to be without effect, %d survive." % (len(survive) - len(alive), len(alive)),
    ]
    if args.out:
        os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
        report(args, mutants, told, results, unit, arguments)
    print("\n".join(told))
    for n in alive:
        print("survives: " + label(mutants, n))
    print("%.0f s" % (time.monotonic() - start))
    return 0 if alone >= args.least and not alive else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except core.Bad as e:
        print("oracle-mutants: %s" % e, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
