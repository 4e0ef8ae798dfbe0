#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
tools/cpu_truth.py [--update | --check] [RESULTS [DOCUMENT]]

Compares the outputs of the guest cpu_truth on several hosts (RESULTS/*.txt, default
results/cpu-truth) and makes the tables of docs/engines.md: every item in which two hosts differ, or
one is not what the manuals demand, under the sentence of RESULTS/meanings that says what it means
for a verdict. Prints the tables; --update writes them into DOCUMENT between its markers; --check
only says whether they are there already. Exit status 1: they are not, a difference has no meaning,
or a meaning has no difference.

RESULTS/meanings: `PATTERN... = sentence`, a line each; the first that matches an item counts.
"""
import fnmatch
import pathlib
import re
import sys

BEGIN = "<!-- begin: tools/cpu_truth.py -->"
END = "<!-- end -->"
ORDER = ["sim", "sim-precise", "pvm", "svm-npt1", "svm-npt0"]


def read(path):
    """Item -> (state, values, wanted); state is ok, WRONG, told, not-run or missing."""
    items = {}
    for line in path.read_text().splitlines():
        if line.startswith("#") or re.match(r"^\d+ items: ", line):
            continue
        words = line.split()
        name, rest = words[0], words[1:]
        wanted = {}
        if rest and rest[-1].startswith("want="):
            wanted = dict(w.split(":", 1) for w in rest.pop()[5:].split(","))
        state = rest.pop()
        if state not in ("ok", "WRONG", "told", "not-run"):
            raise SystemExit(f"{path}: {name}: no result: {line!r}")
        if name in items:
            raise SystemExit(f"{path}: {name} is there twice")
        items[name] = (state, rest, wanted)
    if not items:
        raise SystemExit(f"{path}: no items")
    return items


def cell(result):
    if result is None:
        return "-"
    state, values, wanted = result
    if state == "WRONG":
        return " ".join(v for v in values if v.split("=")[0] in wanted)
    if state == "told":
        return " ".join(values)
    return state


def judged(result):
    """What two hosts must share: all but what is open (`open=` flags, values told with an ok)."""
    if result is None:
        return None
    state, values, wanted = result
    return state if state == "ok" else (state, tuple(values))


def read_meanings(path):
    out = []
    for n, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        patterns, equals, sentence = line.partition(" = ")
        if not equals:
            raise SystemExit(f"{path}:{n}: no ' = '")
        out.append((patterns.split(), sentence.strip()))
    return out


def tables(folder):
    hosts = {p.stem: read(p) for p in sorted(folder.glob("*.txt"))}
    if not hosts:
        raise SystemExit(f"{folder}: no results")
    names = [h for h in ORDER if h in hosts] + [h for h in hosts if h not in ORDER]
    first = hosts[names[0]]
    items = list(first) + sorted({i for h in hosts.values() for i in h} - set(first))
    meanings = read_meanings(folder / "meanings")
    found = [[] for _ in meanings]
    problems, only_open, same = [], [], 0

    for item in items:
        results = [hosts[h].get(item) for h in names]
        states = [judged(r) for r in results]
        if len(set(states)) == 1 and states[0] is not None and states[0] != "not-run":
            if states[0] == "ok" or states[0][0] == "told":
                same += 1
                if len({tuple(r[1]) for r in results}) > 1:
                    only_open.append(item)
                continue
        for k, (patterns, _) in enumerate(meanings):
            if any(fnmatch.fnmatchcase(item, p) for p in patterns):
                found[k].append((item, results))
                break
        else:
            problems.append(f"{item}: no meaning: " + ", ".join(
                f"{h}: {cell(r)}" for h, r in zip(names, results)))
    out = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for state in ("ok", "WRONG", "told", "not-run"):
        counts = [sum(1 for r in hosts[h].values() if r[0] == state) for h in names]
        out.append(f"| {state} | " + " | ".join(map(str, counts)) + " |")
    out += ["", f"{len(items)} items; {same} of them are the same everywhere and what the manuals "
            "demand or leave open.", ""]
    if only_open:
        out += ["Of these, only what the manuals leave undefined differs in: " +
                ", ".join(f"`{i}`" for i in only_open) + ".", ""]
    for (patterns, sentence), rows in zip(meanings, found):
        if not rows:
            problems.append(f"meanings: no difference matches {' '.join(patterns)}")
            continue
        out += [f"**{sentence}**", "", "| item | wanted | " + " | ".join(names) + " |",
                "|---|---|" + "---|" * len(names)]
        for item, results in rows:
            wanted = {}
            for r in results:
                if r:
                    wanted.update(r[2])
            want = " ".join(f"{k}={v}" for k, v in wanted.items())
            out.append(f"| `{item}` | {want} | " + " | ".join(map(cell, results)) + " |")
        out.append("")
    return "\n".join(out).rstrip() + "\n", problems


def main(argv):
    mode = argv.pop(0) if argv and argv[0].startswith("--") else None
    if mode not in (None, "--update", "--check") or len(argv) > 2:
        raise SystemExit(__doc__)
    top = pathlib.Path(__file__).resolve().parent.parent
    folder = pathlib.Path(argv[0]) if argv else top / "results/cpu-truth"
    document = pathlib.Path(argv[1]) if len(argv) > 1 else top / "docs/engines.md"
    text, problems = tables(folder)
    if mode is None:
        print(text, end="")
    else:
        old = document.read_text()
        if BEGIN not in old or END not in old:
            raise SystemExit(f"{document}: no place for the tables ({BEGIN} ... {END})")
        head, tail = old[:old.index(BEGIN) + len(BEGIN)], old[old.index(END):]
        new = head + "\n" + text + tail
        if mode == "--update":
            document.write_text(new)
        elif new != old:
            problems.append(f"{document}: its tables are not those of {folder}; "
                            "run tools/cpu_truth.py --update")
    for p in problems:
        print(f"cpu_truth: {p}", file=sys.stderr)
    return 1 if problems else 0


sys.exit(main(sys.argv[1:]))
