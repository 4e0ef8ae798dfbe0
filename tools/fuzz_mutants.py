#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Is a fuzzer that finds nothing worth anything? It has to find these.

Each fuzz/mutants/NAME.patch is a bug in the guard core, applied to a copy of model/; its first line
says what is wrong. The target `core` is linked with that copy and run under libFuzzer from one honest
input until it reports, or --budget seconds are over. Told for each: executions, seconds, and which
judge spoke: `guarantee` (something that must never come true did) or `model` (a mere difference to
the reference model). What the model sees first is tried once more without it: can a guarantee break
by this bug, too? `-` there: not within the budget.

With `--control` the core itself runs for the budget: nothing may be found. Exit status 1 if a mutant
lives or the core dies.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

CFLAGS = ("-std=c11 -I. -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -O2 -g -w "
          "-fsanitize-coverage=inline-8bit-counters,pc-table").split()
PACKAGES = "unicorn libelf libdw jansson libsodium liblzma libzstd".split()
MAX_INPUT = 257  # fuzz/events/core.h


def run(command, **how):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    if done.returncode:
        sys.exit(f"fuzz_mutants: {' '.join(command)}: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


class Builder:
    """Programs with another core; what the judges are made of is compiled already."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.base = f"{work}/base"
        self.sources = sorted(glob.glob("model/*.c"))
        os.makedirs(self.base)
        for c in self.sources:
            self.compile(c, ".", self.base)
        b = args.build
        self.judges = sorted(glob.glob(f"{b}/fuzz/events/*.o")) + [
            f"{b}/fuzz/targets/core.o", f"{b}/fuzz/fuzz.o", f"{b}/tests/support/manifest_builder.o"]
        for o in self.judges[-3:] + [f"{b}/libguardhouse.a"]:
            if not os.path.exists(o):
                sys.exit(f"fuzz_mutants: {o}: is not built (make all fuzz-targets)")
        self.libraries = run(["pkg-config", "--libs", *PACKAGES]).split() + ["-lZydis", "-lZycore", "-lm"]

    def compile(self, source, root, out):
        run(["clang", *CFLAGS, "-c", os.path.abspath(f"{root}/{source}"), "-o",
             os.path.abspath(f"{out}/{os.path.basename(source)[:-2]}.o")], cwd=root)

    def link(self, objects, program):
        run(["clang", "-fsanitize=fuzzer", "-rdynamic", "-pthread", *self.judges, *objects,
             f"{self.args.build}/libguardhouse.a", *self.libraries, "-o", program])
        return program

    def core(self):
        return self.link(sorted(glob.glob(f"{self.base}/*.o")), f"{self.work}/core")

    def mutant(self, name):
        root = f"{self.work}/{name}"
        os.makedirs(f"{root}/o")
        shutil.copytree("model", f"{root}/model")
        patch = os.path.abspath(f"fuzz/mutants/{name}.patch")
        run(["patch", "-s", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-i", patch], cwd=root)
        changed = re.findall(r"^\+\+\+ b/(\S+)", open(patch, encoding="utf-8").read(), re.M)
        again = self.sources if any(f.endswith(".h") for f in changed) else [f for f in changed if f.endswith(".c")]
        objects = {os.path.basename(o): o for o in glob.glob(f"{self.base}/*.o")}
        for c in again:
            self.compile(c, root, f"{root}/o")
            o = os.path.basename(c)[:-2] + ".o"
            objects[o] = f"{root}/o/{o}"
        return self.link(sorted(objects.values()), f"{root}/core")


def fuzz(args, name, program, seeds, judge):
    """{judge, what, executions, seconds}; judge None: nothing was found."""
    with tempfile.TemporaryDirectory() as tmp:
        corpus = f"{tmp}/corpus"
        shutil.copytree(seeds, corpus)
        command = [program, f"-seed={args.seed}", f"-max_total_time={args.budget}", f"-max_len={MAX_INPUT}",
                   "-timeout=5", "-entropic=0", "-reload=0", "-print_final_stats=1",
                   f"-artifact_prefix={tmp}/", corpus]
        env = dict(os.environ, FUZZ_CORE_JUDGE=judge)
        env.pop("FUZZ_CORE_TRACE", None)
        start = time.monotonic()
        try:
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=args.budget + 60, check=False)
            text = done.stderr.decode(errors="replace")
            status = done.returncode
        except subprocess.TimeoutExpired as e:
            text, status = (e.stderr or b"").decode(errors="replace"), -1
        seconds = time.monotonic() - start
        said = re.search(r"^fuzz-core: (guarantee|model): (.*)", text, re.M)
        count = re.search(r"^stat::number_of_executed_units: (\d+)", text, re.M)
        result = {"judge": None, "what": "", "seconds": round(seconds, 1),
                  "executions": int(count.group(1)) if count else 0}
        if said:
            result["judge"], result["what"] = said.groups()
        elif status:
            result["judge"] = "crash"
            why = re.search(r"^SUMMARY: .*|^==.*ERROR: .*", text, re.M)
            result["what"] = why.group(0) if why else f"exit status {status}"
        finds = glob.glob(f"{tmp}/crash-*") + glob.glob(f"{tmp}/timeout-*")
        if finds and args.keep:
            os.makedirs(args.keep, exist_ok=True)
            shutil.copy(finds[0], f"{args.keep}/{name}")
        return result


def row(name, r, again):
    return f"{name:20} {r['judge'] or 'ALIVE':10} {again:>10} {r['executions']:>10} {r['seconds']:>8}  {r['what']}"


def markdown(args, table, summary):
    """results/mutants.md: the table, and who is still alive."""
    rows = [(n, r) for n, r in table.items() if n != "(the core)"]
    seconds = sorted(r["seconds"] for _, r in rows if r["judge"])
    lines = [
        "# Planted bugs of the core, and what finds them",
        "",
        "Written by `make fuzz-mutants`: each patch of `fuzz/mutants/`, the target `core` under libFuzzer from",
        f"one honest input, seed {args.seed}, at most {args.budget} seconds each. *guarantee*: something came true that",
        "must never; *model*: a mere difference to the reference model, then how long a guarantee takes with the model left out.",
        "",
        summary + (f", median {seconds[len(seconds) // 2]} s." if seconds else "."),
    ]
    if "(the core)" in table:
        r = table["(the core)"]
        found = r["judge"] or "nothing found"
        lines += ["", f"The core itself: {r['executions']} executions in {r['seconds']} s, {found}."]
    lines += ["", "| mutant | what is wrong | killed by | executions | seconds | a guarantee alone |"]
    lines += ["|---|---|---|--:|--:|--:|"]
    for name, r in rows:
        with open(f"fuzz/mutants/{name}.patch", encoding="utf-8") as f:
            what = f.readline().strip()
        g = r.get("guarantee")
        alone = "" if not g else f"{g['seconds']} s" if g["judge"] else "not in time"
        judge = r["judge"] or "**alive**"
        lines.append(f"| {name} | {what} | {judge} | {r['executions']} | {r['seconds']} | {alone} |")
    with open(args.out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Does the fuzz target `core` find planted bugs?")
    parser.add_argument("names", nargs="*", help="of fuzz/mutants/*.patch, without .patch (all)")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--budget", type=int, default=60, help="seconds for each (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="run the core itself, too")
    parser.add_argument("--once", action="store_true", help="do not ask for a guarantee where the model spoke")
    parser.add_argument("--keep", help="folder for the inputs that killed")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--out", metavar="FILE", help="write a table in Markdown to this file")
    args = parser.parse_args()
    names = args.names or sorted(os.path.basename(p)[:-6] for p in glob.glob("fuzz/mutants/*.patch"))
    bad, table = 0, {}
    with tempfile.TemporaryDirectory() as work:
        run([f"{args.build}/fuzz/seeds", f"{work}/seeds", sorted(glob.glob("corpus/scenarios/*.scn"))[0]])
        os.makedirs(f"{work}/honest")
        shutil.copy(f"{work}/seeds/core/honest0", f"{work}/honest/honest")
        builder = Builder(args, work)
        print(f"{'mutant':20} {'killed by':10} {'guarantee':>10} {'executions':>10} {'seconds':>8}")
        if args.control:
            r = fuzz(args, "core", builder.core(), f"{work}/honest", "all")
            print(f"{'(the core)':20} {r['judge'] or 'nothing':10} {'':>10} {r['executions']:>10} {r['seconds']:>8}  "
                  f"{r['what']}", flush=True)
            table["(the core)"] = r
            bad += r["judge"] is not None
        for name in names:
            program = builder.mutant(name)
            r = fuzz(args, name, program, f"{work}/honest", "all")
            again = ""
            if r["judge"] == "guarantee":
                again = "same"
            elif r["judge"] == "model" and not args.once:
                g = fuzz(args, name, program, f"{work}/honest", "guarantee")
                r["guarantee"] = g
                again = f"{g['seconds']} s" if g["judge"] else "-"
            table[name] = r
            bad += r["judge"] is None
            print(row(name, r, again), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(table, f, indent=1)
    killed = [r for n, r in table.items() if n != "(the core)" and r["judge"]]
    by = sum(r["judge"] == "guarantee" or bool(r.get("guarantee", {}).get("judge")) for r in killed)
    summary = f"{len(killed)} of {len(names)} mutants killed, {by} of them by a guarantee"
    if args.out:
        markdown(args, table, summary)
    print(summary)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
