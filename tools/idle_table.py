#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs guest `idle` under each policy and writes what idling cost: results/idle.md (`make idle`).

usage: idle_table.py GUARDHOUSE OUT.md
"""
import json
import re
import subprocess
import sys

SEEDS = (1, 2, 3)
WAKE = 2000
POLICIES = (
    ("mwait", "MWAIT always", "mwait", None),
    ("adaptive", "adaptive", "adaptive", None),
    ("hlt", "HLT always", "hlt", None),
    ("kernel", "HLT, no module", "hlt", "kernel"),
)
# heading, options of --placement
TABLES = (
    ("Nobody shares a core", f"period=0,wake={WAKE}"),
    ("vCPUs move, an event finds a halted vCPU at once", "wake=0"),
    (f"vCPUs move, a halted vCPU waits {WAKE} for its core", f"wake={WAKE}"),
)


def run(guardhouse, policy, placement, arg, seed):
    words = [guardhouse, "run", "idle", "--json", "--oracle", "--seed", str(seed),
             "--placement", f"policy={policy},{placement}"]
    if arg:
        words += ["--arg", arg]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    found = re.search(r"wake-ups (\d+), delay mean (\d+) max (\d+)", report["console"])
    if not found:
        sys.exit(f"{' '.join(words)}: the guest tells no delays")
    row = dict(report["placement"])
    row["wakeups"], row["mean"], row["max"] = (int(n) for n in found.groups())
    return row


def table(guardhouse, heading, placement):
    out = [f"## {heading}", "",
           "| | exits a wake-up | crossings, resumes | HLT | interrupts sent | kicks, interrupts inside "
           "| delay mean | delay max | slept in MWAIT | on a shared core | others waited |",
           "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for _, title, policy, arg in POLICIES:
        rows = [run(guardhouse, policy, placement, arg, seed) for seed in SEEDS]
        n = sum(r["wakeups"] for r in rows)

        def per(*names, rows=rows, n=n):
            return f"{sum(r[name] for r in rows for name in names) / n:.2f}"

        def total(name, rows=rows):
            return f"{sum(r[name] for r in rows):,}"

        mean = sum(r["mean"] * r["wakeups"] for r in rows) / n
        out.append(f"| {title} | {per('exits')} | {per('crossings', 'faults')} | {per('hlt')} | "
                   f"{per('sent')} | {per('departures')} | {mean:,.0f} | "
                   f"{max(r['max'] for r in rows):,} | {total('mwait')} | "
                   f"{total('mwait_shared')} | {total('held')} |")
    return out + [""]


def main():
    guardhouse, path = sys.argv[1:]
    out = ["# Idling: MWAIT, HLT, adaptive", "",
           "`make idle`: guest `idle`, 4 vCPUs on 4 physical cores, simulator, oracle on, seeds "
           f"{', '.join(map(str, SEEDS))} together, 600 wake-ups each. vCPU 0 works and wakes the others.",
           "What the columns mean and what they do not: `docs/guests.md`, *Physical cores*.",
           "",
           "Time is the simulator's: instructions that all vCPUs execute, one vCPU at a time. That a "
           f"halted vCPU waits {WAKE} for its core is an assumption, not a measurement.", ""]
    for heading, placement in TABLES:
        out += table(guardhouse, heading, placement)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out).rstrip() + "\n")


main()
