#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Turns what bench/modules found into results/modules.md, and judges it (tools/test-modules.sh)."""
import csv
import math
import re
import sys

WANTED = 4000  # modules wrapped and proved

# Time must grow with size and not faster. One measurement may be off by half on a busy machine, so it
# is a line through many modules that is judged, and the largest one against all that are smaller by
# two to sixteen. Time that grew with the square would give 4 and about 5.
LARGE = 100_000  # bytes of code
TWICE_MOST = 2.5
LARGEST_MOST = 1.7

SUMS = [
    ("code", "bytes of code"),
    ("instructions", "instructions"),
    ("entries", "entries"),
    ("gates", "gates"),
    ("exits", "imports that are called"),
    ("leaving", "branches that leave"),
    ("inner", "branches to inner copies instead"),
    ("raw_branches", "raw indirect branches"),
    ("sites", "patch sites"),
    ("unwind_rows", "unwind rows"),
]


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else 0


def reason_of(why):
    """Without path and offset, which change with every package."""
    return re.sub(r"^.*?offset 0x[0-9a-f]+: ", "", why)


def kind_of(reason):
    """Without the place: what several modules share."""
    return re.sub(r"^\S+\+0x[0-9a-f]+: ", "", re.sub(r"0x[0-9a-f]+", "N", reason))


def read_refused(path):
    try:
        with open(path, encoding="ascii") as f:
            lines = [x.split(": ", 1)[0] for x in f if x.strip() and not x.startswith("#")]
    except FileNotFoundError:
        return []
    return [x.strip() for x in lines]


def write_refused(path, refused):
    with open(path, "w", encoding="ascii") as f:
        f.write("# Modules that the toolchain refuses, with the reason. UPDATE=1 make test-modules\n")
        for name, why in sorted(refused.items()):
            f.write(f"{name}: {why}\n")


def table(out, head, rows):
    out.append("| " + " | ".join(head) + " |")
    out.append("|" + "|".join("---" if i == 0 else "--:" for i in range(len(head))) + "|")
    out.extend("| " + " | ".join(row) + " |" for row in rows)
    out.append("")


def number(n):
    return f"{n:,}"


def timing(rows, run):
    """CPU time per byte of code, from small to large modules: is it linear?"""
    proved = sorted((r for r in rows if r["state"] == "proved"), key=lambda r: int(r["code"]))
    out = []
    for lo, hi in ((1, 1e3), (1e3, 1e4), (1e4, 1e5), (1e5, 1e6), (1e6, 1e9)):
        band = [r for r in proved if lo <= int(r["code"]) < hi]
        if not band:
            continue
        per = [
            1e9 * sum(float(r[k]) for r in band) / sum(int(r["code"]) for r in band)
            for k in ("wrap_s", "check_s")
        ]
        out.append([f"{int(lo):,} to {int(hi):,}" if hi < 1e9 else f"{int(lo):,} and more",
                    number(len(band))] + [f"{p:.0f}" for p in per])
    for r in proved[-3:]:
        out.append([r["module"].split("/")[-1] + f" ({number(int(r['code']))})", "1"]
                   + [f"{1e9 * float(r[k]) / int(r['code']):.0f}" for k in ("wrap_s", "check_s")])
    return out


def growth(rows):
    """Of wrap and of check: what twice the code costs (least squares over the logarithms of large
    modules), and a byte of the largest module against one of modules a sixteenth to half its size."""
    large = sorted((r for r in rows if r["state"] == "proved" and int(r["code"]) >= LARGE),
                   key=lambda r: int(r["code"]))
    if len(large) < 10:
        return None
    top = large[-1]
    band = [r for r in large if int(top["code"]) / 16 <= int(r["code"]) <= int(top["code"]) / 2]
    out = {"largest": top["module"].split("/")[-1], "modules": len(large), "band": len(band)}
    for key in ("wrap_s", "check_s"):
        points = [(math.log(int(r["code"])), math.log(max(float(r[key]), 1e-6))) for r in large]
        mx, my = (sum(p[i] for p in points) / len(points) for i in (0, 1))
        slope = (sum((x - mx) * (y - my) for x, y in points)
                 / sum((x - mx) ** 2 for x, _ in points))
        per = sum(float(r[key]) for r in band) / max(1, sum(int(r["code"]) for r in band))
        out[key] = (2 ** slope, float(top[key]) / int(top["code"]) / per if per else math.inf)
    return out


def report(rows, run, version, refused):
    proved = [r for r in rows if r["state"] == "proved"]
    out = ["# All modules of Debian's kernel package", ""]
    out += [f"`make test-modules`, package {version}. Every module is wrapped, and what came out is",
            "checked against the original by `check/`, which shares no code with `wrap/`.", ""]
    states = {}
    for r in rows:
        states[r["state"]] = states.get(r["state"], 0) + 1
    table(out, ["", "modules"], [["all", number(len(rows))]]
          + [[k, number(v)] for k, v in sorted(states.items(), key=lambda x: -x[1])])
    out += ["## Refused", ""]
    kinds = {}
    for name, why in sorted(refused.items()):
        kinds.setdefault(kind_of(why), []).append(name.split("/")[-1])
    table(out, ["reason", "modules"], [[k, " ".join(v)] for k, v in sorted(kinds.items())])
    out += ["## What they hold", ""]
    rows_of = []
    for key, text in SUMS:
        values = [int(r[key]) for r in proved]
        rows_of.append([text, number(sum(values)), number(median(values)),
                        number(max(values, default=0))])
    values = [int(r["manifest"]) for r in proved]
    rows_of.append(["bytes of manifest", number(sum(values)), number(median(values)),
                    number(max(values, default=0))])
    values = [int(r["wrapped"]) - int(r["input"]) for r in proved]
    rows_of.append(["bytes more than the original", number(sum(values)), number(median(values)),
                    number(max(values, default=0))])
    table(out, ["", "sum", "median", "largest"], rows_of)
    out += ["![sizes and time over code](modules.svg)", "",
            "Medians of modules of about the same size.", "", "## What was proved", ""]
    keys = [k for k in rows[0] if k.startswith("proved_")]
    table(out, ["class (docs/check.md)", "count"],
          [[f"`{k[7:]}`", number(sum(int(r[k]) for r in proved))] for k in keys])
    out += ["## Time", "", "<!-- measured: depends on the machine and its load -->", ""]
    table(out, ["", ""], [
        ["seconds, all modules", run["seconds"]],
        ["CPU seconds", run["cpu_seconds"]],
        ["processes", run["jobs"]],
        ["peak memory, sum of processes", f"{int(run['peak_kb']) // 1024} MiB"],
    ])
    out += ["CPU time by size, nanoseconds for each byte of code:", ""]
    table(out, ["bytes of code", "modules", "wrap", "check"], timing(rows, run))
    g = growth(rows)
    if g:
        out += [f"Does the time grow with the size and not faster? A line through the {g['modules']} modules of",
                f"{LARGE:,} bytes of code and more; and a byte of {g['largest']}, the largest, against one of the",
                f"{g['band']} that are a sixteenth to half as large. `make test-modules` fails above {TWICE_MOST} and",
                f"{LARGEST_MOST}.", ""]
        table(out, ["", "wrap", "check"],
              [["twice the size costs, times"] + [f"{g[k][0]:.2f}" for k in ("wrap_s", "check_s")],
               [f"a byte of {g['largest']} costs, times"]
               + [f"{g[k][1]:.2f}" for k in ("wrap_s", "check_s")]])
    out += ["<!-- /measured -->", ""]
    return "\n".join(out)


def plot(rows, path):
    """Medians over bins of code size, twelve to a decade."""
    bins = {}
    for r in rows:
        if r["state"] == "proved" and int(r["code"]):
            bins.setdefault(int(12 * math.log10(int(r["code"]))), []).append(r)
    with open(path, "w", encoding="ascii") as f:
        f.write("code\tmanifest\tadded\twrap\tcheck\n")
        for _, band in sorted(bins.items()):
            values = [median([int(r["code"]) for r in band]),
                      median([int(r["manifest"]) for r in band]),
                      median([int(r["wrapped"]) - int(r["input"]) for r in band]),
                      median([float(r["wrap_s"]) for r in band]),
                      median([float(r["check_s"]) for r in band])]
            f.write("\t".join(str(max(v, 1e-6)) for v in values) + "\n")


def judge(rows, refused, known):
    bad = []
    proved = sum(r["state"] == "proved" for r in rows)
    for r in rows:
        if r["state"] not in ("proved", "refused"):
            bad.append(f"{r['module']}: {r['state']}: {r['why']}")
    for name in sorted(set(refused) - set(known)):
        bad.append(f"{name}: refused, but not in the list: {refused[name]}")
    for name in sorted(set(known) - set(refused)):
        bad.append(f"{name}: in the list of refused modules, but not refused")
    g = growth(rows)
    if not g:
        bad.append(f"too few modules of {LARGE} bytes of code to tell how time grows with size")
    for key in ("wrap_s", "check_s") if g else ():
        if g[key][0] > TWICE_MOST or g[key][1] > LARGEST_MOST:
            bad.append(f"{key[:-2]}: twice the size costs {g[key][0]:.2f} times as much, a byte of "
                       f"{g['largest']} {g[key][1]:.2f} times one of smaller modules")
    if proved < WANTED:
        bad.append(f"only {proved} modules wrapped and proved; {WANTED} are wanted")
    return bad


def main():
    tsv, run_txt, version, list_path, md, folder = sys.argv[1:7]
    with open(tsv, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    with open(run_txt, encoding="ascii") as f:
        run = dict(line.rstrip("\n").split("\t") for line in f)
    with open(version, encoding="ascii") as f:
        version = f.read().strip()
    refused = {r["module"]: reason_of(r["why"]) for r in rows if r["state"] == "refused"}
    if "--update" in sys.argv:
        write_refused(list_path, refused)
    with open(md, "w", encoding="ascii") as f:
        f.write(report(rows, run, version, refused))
    plot(rows, f"{folder}/plot.tsv")
    bad = judge(rows, refused, read_refused(list_path))
    for line in bad[:50]:
        print(f"test-modules: {line}", file=sys.stderr)
    print(f"{len(rows)} modules: {sum(r['state'] == 'proved' for r in rows)} wrapped and proved, "
          f"{len(refused)} refused, {run['seconds']} s, {int(run['peak_kb']) // 1024} MiB: {md}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
