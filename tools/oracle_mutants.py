#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which faults of the core does the oracle see by itself?

The mutants are those of tools/mutants.py: every condition in model/ forced to true and to false. A
`guardhouse` is linked with the rewritten core; for each mutant the scenarios run whose execution it
changes, and what counts is the oracle's word alone: a failed `expect` line, a crash or an endless
run is no catch. Which judge is on is --judge: `truth` (the oracle without the reference model) or
`all`. Writes the table to --out, fails if `truth` catches fewer than --least.
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
    """A mutant that makes the simulator run for ever: no catch."""


class Attack:
    """Runs scenarios by their IDs with one mutant on."""

    def __init__(self, program, judge):
        self.program = program
        self.judge = judge

    def rows(self, ids, timeout, **env):
        """The table as JSON; None if it did not come to its end."""
        command = [self.program, "attack", "--json"] + self.judge + ids
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
        try:
            return json.loads(done.stdout)["attacks"]
        except (ValueError, KeyError, TypeError):
            return None

    def caught(self, ids, number):
        """(scenario, what the oracle said) of the first catch, or None."""
        for at in range(0, len(ids), CHUNK):
            some = ids[at : at + CHUNK]
            try:
                rows = self.rows(some, 10 + len(some), GUARD_MUTANT=str(number))
                if rows is None:  # it crashed: which of them still have something to say?
                    rows = [r for one in some for r in self.rows([one], 10, GUARD_MUTANT=str(number)) or []]
            except Endless:
                return None
            for row in rows:
                if row.get("oracle"):
                    return row["id"], row["oracle"].splitlines()[0].split(": ", 1)[1]
        return None


def main():
    parser = argparse.ArgumentParser(description="Which faults of the core does the oracle see alone?")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cflags", required=True, help="of the core")
    parser.add_argument("--ldflags", required=True)
    parser.add_argument("--ldlibs", required=True)
    parser.add_argument("--dirs", required=True, help="folders whose objects make up the program")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--judge", choices=["truth", "all"], default="truth")
    parser.add_argument("--sample", type=int, metavar="N", help="N of the mutants, by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=int, default=20)
    parser.add_argument("--out", metavar="FILE", help="write the table there")
    args = parser.parse_args()

    sources, mutants, count = core.find(sorted(glob.glob("model/*.[ch]")))
    tmp = os.path.abspath(tempfile.mkdtemp(prefix="oracle-mutants."))
    start = time.monotonic()
    try:
        program = build(args, sources, count, tmp)
        attack = Attack(program, ["--oracle-alone"] if args.judge == "truth" else [])
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
            work = {
                pool.submit(attack.caught, [i for i in ids if sees[i][n]], n): n for n in chosen
            }
            for done in concurrent.futures.as_completed(work):
                results[work[done]] = done.result()
                if sys.stderr.isatty():
                    n = sum(r is not None for r in results.values())
                    sys.stderr.write("\r%d of %d, %d caught " % (len(results), len(chosen), n))
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
    finally:
        shutil.rmtree(tmp, ignore_errors=True)

    caught = [n for n in chosen if results[n]]
    told = "%d mutants, %d of them change a value in some scenario, %d tried: %s caught %d; %.0f s" % (
        len(mutants),
        reached,
        len(chosen),
        "the oracle alone" if args.judge == "truth" else "oracle and reference model",
        len(caught),
        time.monotonic() - start,
    )
    lines = [
        "| fault of the core (file, function, condition, forced to) | seen in | as |",
        "|---|---|---|",
    ]
    for n in caught:
        key = mutants[n][0].split(":", 2)
        condition, value = key[2].rsplit(":", 1)
        where, what = results[n]
        lines.append(
            "| `%s` `%s()`: `%s` %s | %s | %s |"
            % (key[0], key[1], condition.replace("|", "\\|"), value, where, what)
        )
    if args.out:
        os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
        with open(args.out, "w", encoding="utf-8") as f:
            f.write("# Faults of the core that the oracle sees by itself\n\n")
            f.write("Written by `make oracle-mutants`; how: `tools/oracle_mutants.py`. Expectations of the\n")
            f.write("scenarios do not count here")
            f.write(", nor does the reference model.\n\n" if args.judge == "truth" else ".\n\n")
            f.write(told.rsplit(";", 1)[0] + ".\n\n")
            f.write("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))
    print(told)
    return 0 if len(caught) >= args.least else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except core.Bad as e:
        print("oracle-mutants: %s" % e, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
