#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How fast the fuzz targets of the core are, each way in one run: results/fuzz-speed.md.

The same input again and again: by the benchmark alone, under libFuzzer, under AFL++ (persistent,
shared memory), and as it is usually done: a process for each input, a new program for each. An
engine's start is measured by itself and taken off. `crossings` of `guest` is bench/crossings.scn:
eight crossings, no page table is edited; `honest` is what fuzzing begins with. The campaigns' own
medians, of inputs that are mutated and mostly longer, come from build/fuzz/guard/campaign.json.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

AIMS = {("core", "library, all judges", "crossings"): 1e6, ("guest", "libFuzzer, oracle and model", "crossings"): 2e4,
        ("guest", "library, no judge", "crossings"): 1e5}
MIX = "bench/crossings.scn"
AFL = dict(AFL_QUIET="1", AFL_SKIP_CPUFREQ="1", AFL_NO_AFFINITY="1")


def took(command, env=None):
    """(seconds, standard output)"""
    start = time.monotonic()
    done = subprocess.run(command, env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"fuzz_speed: {' '.join(command)}: {(done.stdout + done.stderr).strip()[-500:]}")
    return seconds, done.stdout


def slope(few, many, seconds):
    """Runs a second, from what `few` and `many` of them take at best of three; seconds(n) measures."""
    first, second = (min(seconds(n) for _ in range(3)) for n in (few, many))
    return (many - few) / (second - first) if second > first else 0


def engines(args, target, seed, tmp):
    """(way, rate) under both engines, and a program for each input"""
    lib, afl = (f"{args.builds}/guard-{e}/fuzz/{target}" for e in ("libfuzzer", "afl"))
    many = {"core": 40000, "guest": 20000, "ko": 3000}[target]

    def showmap(n):
        folder = f"{tmp}/{os.path.basename(seed)}.{target}.{n}"
        os.makedirs(folder, exist_ok=True)
        for i in range(n):
            if not os.path.exists(f"{folder}/{i}"):
                os.link(seed, f"{folder}/{i}")
        return took(["afl-showmap", "-q", "-C", "-t", "10000", "-m", "none", "-i", folder, "-o", f"{tmp}/map", "--", afl],
                   AFL)[0]

    yield "libFuzzer, oracle and model", slope(1, many, lambda n: took([lib, f"-runs={n}", seed])[0])
    yield "AFL++, oracle and model", slope(1, many // 2, showmap)
    yield "a program for each input", slope(0, 10, lambda n: sum(took([lib, seed])[0] for _ in range(n)))


def library(column, *command):
    """Rows of a benchmark's table as lists."""
    _, text = took(list(command))
    return [line.split("\t") for line in text.splitlines() if line.count("\t") >= column]


def rows(args):
    """(target, way, what, rate)"""
    judges = {"none": "no judge", "guarantees": "guarantees alone", "truth": "guarantees alone", "and model": "all judges"}
    for inputs, judge, _, events, *_ in library(4, f"{args.build}/bench/fuzz_bench")[1:]:
        yield "core", f"library, {judges[judge]}", inputs, float(events)
    for way, judge, rate, *_ in library(3, f"{args.build}/bench/scenario_bench", "2", MIX)[1:]:
        name = {"back to a mark": "library", "a VM for each": "a VM for each", "a process for each": "fork for each"}[way]
        yield "guest", f"{name}, {judges[judge]}", "crossings", float(rate)
    with tempfile.TemporaryDirectory() as tmp:
        took([f"{args.build}/fuzz/seeds", f"{tmp}/seeds", MIX])
        for target, name in ("core", "honest0"), ("guest", "crossings.scn"), ("guest", "honest"), ("ko", "honest"):
            what = name.split(".")[0].rstrip("0")
            if target == "ko" and not os.path.exists("build/debian/e1000e.ko"):
                print("SKIP: ko: no drivers (make corpus-debian)")
                continue
            for way, rate in engines(args, target, f"{tmp}/seeds/{target}/{name}", tmp):
                yield target, way, what, rate


def campaign(path):
    """(target, median executions a second)"""
    try:
        with open(path, encoding="utf-8") as f:
            for key, c in sorted(json.load(f).items()):
                if c.get("rates"):
                    yield key, statistics.median(c["rates"])
    except (OSError, ValueError):
        return


def main():
    parser = argparse.ArgumentParser(description="How fast are the fuzz targets of the core?")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--builds", default="build")
    parser.add_argument("--campaign", default="build/fuzz/guard/campaign.json")
    parser.add_argument("--out", metavar="FILE", help="write it in Markdown to this file")
    args = parser.parse_args()
    lines = ["| target | way | input | a second | aim |", "|---|---|---|--:|---|"]
    for target, way, what, rate in rows(args):
        aim = AIMS.get((target, way, what))
        said = "" if not aim else f"{aim:,.0f}: {'met' if rate >= aim else 'missed'}"
        unit = "events" if target == "core" and way.startswith("library") else "inputs"
        lines.append(f"| {target} | {way} | {what} | {rate:,.0f} {unit} | {said} |")
        print(f"{target:6} {way:30} {what:10} {rate:>12,.0f} {unit}  {said}", flush=True)
    for key, rate in campaign(args.campaign):
        target, engine = key.split()
        lines.append(f"| {target} | campaign, {engine} | its own, median | {rate:,.0f} inputs | |")
        print(f"{target:6} campaign, {engine:20} {'median':10} {rate:>12,.0f} inputs")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write("# How fast the fuzz targets are\n\n" + __doc__.split("\n\n", 1)[1].strip() +
                    "\n\nWritten by `make bench-fuzz`, in one run, on one core.\n"
                    "`no judge` of `guest` is the core alone.\n\n" + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
