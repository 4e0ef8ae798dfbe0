# SPDX-License-Identifier: GPL-2.0-only
"""Of tools/fuzz_mutants.py: the tables and the plot in results/."""
import os
import shutil
import statistics
import subprocess
import tempfile

KILLS = ("guarantee", "model", "crash")
MULTI_STEP = 20  # so many have to need two hostile steps or more


def killed(result):
    return result is not None and result["judge"] in KILLS


def killer(row):
    """(target, result) of the first target that killed it; (None, None): it lives."""
    return next(((t, r) for t, r in row["targets"].items() if killed(r)), (None, None))


def by_guarantee(row):
    """Did a guarantee break, the reference model left out if need be?"""
    _, r = killer(row)
    return r is not None and (r["judge"] == "guarantee" or killed(row.get("alone")))


def seconds(row):
    """All that was spent until the kill, the targets before it too; of one that lives, all."""
    total = 0.0
    for r in row["targets"].values():
        total += r["seconds"]
        if killed(r):
            break
    return round(total, 1)


def multi_step(table):
    return {n: r for n, r in table.items() if (r.get("steps") or 0) > 1}


def numbers(values):
    """min, median, max as text."""
    return f"{min(values)} | {round(statistics.median(values), 1)} | {max(values)}"


def summary(args, table):
    rows = table.values()
    done = [r for r in rows if killer(r)[0]]
    text = f"{len(done)} of {len(table)} mutants killed, {sum(map(by_guarantee, rows))} of them by a guarantee"
    if args.steps:
        multi = multi_step(table).values()
        text += f"; {len(multi)} need two or more hostile steps, {sum(map(by_guarantee, multi))} of those by a guarantee"
    return text


def control_lines(control):
    lines = ["", "The core itself:", "", "| target | executions | seconds | found |", "|---|--:|--:|---|"]
    for target, r in control.items():
        found = f"**{r['judge']}**: {r['what']}" if r["judge"] else "nothing"
        lines.append(f"| `{target}` | {r['executions']} | {r['seconds']} | {found} |")
    return lines


def main_table(args, table):
    columns = ["mutant", "what is wrong"]
    columns += [f"`{t}`" for t in args.targets] if args.every else ["killed by", "executions"]
    columns += ["seconds", "a guarantee alone"] + (["steps", "hostile"] if args.steps else [])
    lines = ["", "| " + " | ".join(columns) + " |", "|---" * (3 if not args.every else 2) + "|--:" *
             (len(columns) - (2 if args.every else 3)) + "|"]
    for name, row in table.items():
        with open(f"fuzz/mutants/{name}.patch", encoding="utf-8") as f:
            cells = [name, f.readline().strip()]
        target, r = killer(row)
        if args.every:
            for t in args.targets:
                one = row["targets"].get(t)
                cells.append("" if not one else f"{one['judge']} {one['seconds']} s" if killed(one) else "-")
        else:
            cells.append(f"`{target}` {r['judge']}" if r else "**alive**")
            cells.append(str(sum(x["executions"] for x in row["targets"].values())))
        if args.every and not r:
            cells[0] += " **alive**"
        cells.append(str(seconds(row)))
        g = row.get("alone")
        cells.append("same" if r and r["judge"] == "guarantee" else "" if not g else
                     f"`{g['target']}` {g['seconds']} s" if killed(g) else "not in time")
        if args.steps:
            cells += [str(row.get("length") or "?"), str(row["steps"]) if row.get("steps") is not None else "?"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def seeds_table(args, table):
    more = {n: r["seeds"] for n, r in table.items() if r.get("seeds")}
    if not more:
        return []
    lines = ["", f"## With seeds 1 to {args.seeds}", "", f"The {len(more)} that took longest with seed 1.", "",
             "| mutant | killed | min | median | max |", "|---|--:|--:|--:|--:|"]
    for name, times in more.items():
        every = [(seconds(table[name]), killer(table[name])[0] is not None)] + [(t["seconds"], t["killed"])
                                                                                for t in times]
        lines.append(f"| {name} | {sum(k for _, k in every)} of {len(every)} | {numbers([s for s, _ in every])} |")
    return lines


def stated_lines(table):
    why = [(n, r["why"]) for n, r in table.items() if r.get("why")]
    return ["", "The number of hostile steps stands in the patch and was not measured:", ""] + [
        f"- `{n}`: {w}" for n, w in why] if why else []


def markdown(args, table, control, partial):
    """partial: why the table is not whole, or None."""
    times = [seconds(r) for r in table.values() if killer(r)[0]]
    budget = ", ".join(f"`{t}` {args.budget[t]} s" for t in args.targets)
    seeds = f"seed {args.seed}" + (f" (some with 2 to {args.seeds}, too)" if args.seeds > 1 else "")
    lines = ["# Planted bugs of the core, and what finds them", ""]
    if partial:
        lines += [f"**Partial: {partial}.**", ""]
    lines += ["Written by `make fuzz-mutants`: each patch of `fuzz/mutants/`. Targets in this order"
              + (", all of them" if args.every else ", until one finds it") + ", each from",
              "one honest input and with a budget of its own. *guarantee*: something came true that must never;",
              "*model*: a mere difference to the reference model, and then how long a guarantee takes with the model left",
              "out. *seconds*: all that was spent up to the find.", ""]
    if args.steps:
        lines += ["*steps*: of the input that killed it, minimized with the model left out; *hostile*: those of them that the real",
                  "core refuses, or that no honest kernel makes (`tools/fuzz_mutants_steps.py`). Each is needed there: two are a",
                  "preparation and a violation. `?`: it could not be minimized, and does not count as one of these.", ""]
    lines += ["| | |", "|---|---|", f"| engine | {args.engine} |", f"| budgets | {budget} |", f"| seeds | {seeds} |",
              f"| `model/` | git tree `{args.tree}` |"]
    if times:
        lines += [f"| median | {round(statistics.median(times), 1)} s |", f"| maximum | {max(times)} s |"]
    if args.jobs > 1:
        lines += [f"| at a time | {args.jobs}, each on a core of its own |"]
    lines += ["", summary(args, table) + "."]
    svg = os.path.splitext(args.out)[0] + ".svg"
    if plot(args, table, svg):
        lines += ["", f"![killed by seconds]({os.path.basename(svg)})"]
    if control:
        lines += control_lines(control)
    lines += main_table(args, table) + stated_lines(table) + seeds_table(args, table)
    with open(args.out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def plot(args, table, svg):
    """Killed against seconds, a line for each target; False: there is no gnuplot, or nothing to show."""
    lines = {}
    for t in args.targets:
        lines[t] = sorted(r["targets"][t]["seconds"] for r in table.values() if killed(r["targets"].get(t)))
    if len(args.targets) > 1:
        lines["one after the other"] = sorted(seconds(r) for r in table.values() if killer(r)[0])
    lines = {n: times for n, times in lines.items() if times}
    if not lines or not shutil.which("gnuplot"):
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="ascii") as data:
        for name, times in lines.items():
            data.write(f'"{name}"\n')
            for n, s in enumerate(times, 1):
                data.write(f"{max(s, 0.1)}\t{n}\n")
            data.write("\n\n")
        data.flush()
        subprocess.run(["gnuplot", "-e", f"data='{data.name}'; out='{svg}'; lines={len(lines)}; all={len(table)}",
                        "tools/fuzz_mutants.gnuplot"], check=True)
    return True
