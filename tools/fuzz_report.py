#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What came of the campaigns against the guard core: writes results/fuzzing.md.

Takes one campaign folder of tools/fuzz_parsers.py --guard or more (each target may have run by itself,
or on another machine) and adds them up. What the inputs reach of the core is measured, not taken from the
engine: all that was kept is played by the targets of VARIANT=cov, and gcov counts functions, lines and
branches of model/. Exit status 1: a find is open, an input does not play, or a campaign was against
another core than the present one.
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import fuzz_mutants_run as guard
import fuzz_parsers as campaign

CHUNK = 400  # inputs for one process
SLOW = 3  # seconds for one input at most, on the average of a chunk
WHAT = ("function", "line", "branch")


class Coverage:
    """What inputs reach of model/."""

    def __init__(self, args, work):
        self.args, self.work, self.refused = args, work, []

    def play(self, target, files, data):
        """All of them; one that fails is named and left out, as nothing is counted of its process."""
        env = dict(os.environ, GCOV_PREFIX=data, **guard.corpora(self.args.builds))
        try:
            done = subprocess.run([f"{self.args.builds}/cov/fuzz/{target}", *files], env=env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  timeout=60 + SLOW * len(files), check=False)
            if not done.returncode:
                return
        except subprocess.TimeoutExpired:
            pass
        if len(files) == 1:
            self.refused.append(files[0])
            return
        half = len(files) // 2
        self.play(target, files[:half], data)
        self.play(target, files[half:], data)

    def measure(self, target, files, say):
        """A file of gcovr's with what they reach; None: nothing."""
        data = f"{self.work}/{target}"
        for i in range(0, len(files), CHUNK):
            say(f"coverage of {target}: {i} of {len(files)} inputs")
            self.play(target, files[i:i + CHUNK], data)
        counts = glob.glob(f"{data}/**/model/*.gcda", recursive=True)
        if not counts:
            return None
        for c in counts:
            name = os.path.basename(c)[:-5] + ".gcno"
            shutil.copy(f"{self.args.builds}/cov/model/{name}", f"{os.path.dirname(c)}/{name}")
        out = f"{self.work}/{target}.json"
        self.gcovr("--json", out, "--object-directory", data, os.path.dirname(counts[0]))
        return out

    def gcovr(self, *args):
        done = subprocess.run(["gcovr", "--root", ".", "--filter", "model/", *args], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            sys.exit(f"fuzz_report: gcovr: {(done.stdout + done.stderr).strip()[-1000:]}")

    def totals(self, files):
        """{function, line, branch: (reached, of)} of gcovr's files together."""
        out = f"{self.work}/summary.json"
        self.gcovr(*[a for f in files for a in ("--add-tracefile", f)], "--json-summary", out)
        with open(out, encoding="utf-8") as f:
            s = json.load(f)
        return {w: (s[f"{w}_covered"], s[f"{w}_total"]) for w in WHAT}


def unreached(tracefiles):
    """Names of the core's functions that nothing reached."""
    counts = {}
    for path in tracefiles:
        with open(path, encoding="utf-8") as f:
            for file in json.load(f)["files"]:
                for function in file["functions"]:
                    name = function["name"]
                    counts[name] = max(counts.get(name, 0), function["execution_count"])
    return sorted(n for n, c in counts.items() if not c)


def share(pair):
    return f"{pair[0]:,} of {pair[1]:,} ({100 * pair[0] / max(1, pair[1]):.1f} %)"


class Sum:
    """A target under an engine, over all folders."""

    def __init__(self, name, engine, folders):
        self.name, self.engine = name, engine
        self.parts = [p for p in (totals.get(f"{name} {engine}") for _, totals in folders) if p]
        self.seconds = sum(p["seconds"] for p in self.parts)
        self.executions = sum(p["executions"] for p in self.parts)
        self.rates = [r for p in self.parts for r in p.get("rates", [])]
        self.edges = max((p["edges"] for p in self.parts), default=0)
        self.of = max((p["of"] for p in self.parts), default=0)
        self.models = sorted({p.get("model", "unknown") for p in self.parts})

    def row(self, found, still_open):
        median = f"{statistics.median(self.rates):,.0f}" if self.rates else "?"
        return (f"| `{self.name}` | {self.engine} | {self.seconds:,.0f} | {self.executions:,} | {median} | "
                f"{self.edges:,} of {self.of:,} | {found} | {still_open} |")


def inputs(target):
    """All that its engines kept, and the seeds."""
    files = []
    for folder in (target.seeds, target.corpus, *glob.glob(f"{target.afl}/*/queue")):
        files += [f"{folder}/{n}" for n in sorted(os.listdir(folder)) if os.path.isfile(f"{folder}/{n}")] \
            if os.path.isdir(folder) else []
    return files


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--dir", action="append", help="a campaign's folder (build/fuzz/guard); may stand more than once")
    p.add_argument("--builds", default="build", help="where the builds are")
    p.add_argument("--out", default="results/fuzzing.md")
    args = p.parse_args()
    args.guard, args.jobs = True, 1
    folders = [(d, campaign.load(f"{d}/campaign.json")) for d in args.dir or ["build/fuzz/guard"]]
    for d, totals in folders:
        if not totals:
            sys.exit(f"fuzz_report: {d}/campaign.json: there is none, or it is empty (make fuzzing)")
    tree, status, bad = guard.tree_id(), campaign.Status(), []
    rows, covered, reached, tracefiles = [], [], {}, []
    with tempfile.TemporaryDirectory() as work:
        coverage = Coverage(args, work)
        for name in guard.TARGETS:
            sums = [s for s in (Sum(name, e, folders) for e in campaign.ENGINES) if s.parts]
            if not sums:
                continue
            targets = [campaign.Target(argparse.Namespace(**dict(vars(args), dir=d)), name) for d, _ in folders]
            if not os.path.exists(f"{args.builds}/cov/fuzz/{name}"):
                sys.exit(f"fuzz_report: {args.builds}/cov/fuzz/{name}: is not built (make VARIANT=cov fuzz-targets)")
            still = {}
            for t in targets:
                status.show(f"finds of {name}")
                for why, path in campaign.open_finds(t)[0].items():
                    still.setdefault(why, path)
            bad += [f"{path}: {why}" for why, path in still.items()]
            for s in sums:
                found = {os.path.basename(f) for t in targets for f in t.found_by(s.engine)}
                rows.append(s.row(len(found), len([x for x in still.values() if os.path.basename(x) in found])))
                bad += [f"{name} {s.engine}: the campaign was against model/ {m}, and now it is {tree}"
                        for m in s.models if m != tree]
            files = [f for t in targets for f in inputs(t)]
            trace = coverage.measure(name, files, status.show)
            if trace:
                tracefiles.append(trace)
                reached[name] = coverage.totals([trace])
                covered.append((f"`{name}`", len(files), reached[name]))
        if len(tracefiles) > 1:
            covered.append(("together", sum(c[1] for c in covered), coverage.totals(tracefiles)))
        nobody = unreached(tracefiles)
        bad += [f"{f}: does not play in the instrumented build" for f in coverage.refused]
    status.clear()
    lines = ["# Fuzzing of the guard core", "",
             "`make fuzzing`: the targets of `docs/fuzzing.md` that are about the core, at full speed, on one core of a CPU each.",
             "*a second*: the median of the parts that a campaign was run in. *edges*: of the core, as the engine of the last",
             "run counts them. *open*: finds that the present core still fails on. What finds turned out to be:",
             "`corpus/regressions/README.md`.", "",
             f"`model/` is git tree `{tree}`.", ""]
    if bad:
        lines += ["**Not clean:**", ""] + [f"- {b}" for b in bad] + [""]
    lines += ["| target | engine | seconds | executions | a second | edges | finds | open |",
              "|---|---|--:|--:|--:|--:|--:|--:|", *rows, "", "## What the inputs reach of the core", "",
              "All inputs that were kept, played once by a build without optimisation; counted by gcov.", "",
              "| target | inputs | functions | lines | branches |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {name} | {n:,} | " + " | ".join(share(r[w]) for w in WHAT) + " |" for name, n, r in covered]
    lines += ["", "Functions that none reaches: " + (", ".join(f"`{n}()`" for n in nobody) or "none") + "."]
    with open(args.out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    for b in bad:
        print(f"fuzz_report: {b}", file=sys.stderr)
    print(f"{len(rows)} campaigns, {len(bad)} objections, {args.out}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
