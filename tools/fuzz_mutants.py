#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Is a fuzzer that finds nothing worth anything? It has to find these.

Each fuzz/mutants/NAME.patch is a bug in the guard core, applied to a copy of model/; its first line
says what is wrong. The targets (--targets core,guest,ko, in this order) are linked with that copy and
run under an engine from one honest input each, until one reports or its --budget is over. Told for
each: the target and the judge that spoke, executions, seconds. Judges: `guarantee` (something that must
never come true did), `model` (a mere difference to the reference model), `crash`. What the model sees
first is tried once more without it: can a guarantee break by this bug, too?

With `--steps` what killed is minimized, and its hostile steps are counted (fuzz_mutants_steps.py); with
`--seeds N` the fifteen slowest are found N - 1 times more, with other seeds; with `--control` the core
itself runs for each budget: nothing may be found. Ctrl-C keeps what is done: the table is written, and
says that it is not whole; `--resume` goes on with what --json kept. Exit status 1 if a mutant lives, if
the core dies, or if one that needs two hostile steps is not found by a guarantee; 130 after Ctrl-C.
"""
import argparse
import glob
import hashlib
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time

import fuzz_mutants_report as report
import fuzz_mutants_run as run
import fuzz_mutants_steps as steps

SLOWEST = 15  # have their times with further seeds
MINIMIZE = 300  # seconds
KINDS = {"core": "core", "guest": "scenario", "ko": "ko"}  # what `guardhouse minimize` calls their inputs


class Progress:
    """One line on a terminal, below the table's rows."""

    def __init__(self, total):
        self.tty, self.total, self.done, self.at = sys.stderr.isatty(), total, 0, {}

    def show(self):
        if self.tty:
            now = ", ".join(f"{what} {time.monotonic() - since:.0f} s" for what, since in list(self.at.values()))
            print(f"\r\033[K[{self.done}/{self.total}] {now}", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def say(self, what):
        self.at[threading.get_ident()] = (what, time.monotonic())

    def nothing(self):
        self.at.pop(threading.get_ident(), None)


class Hunt:
    """What each worker does: one mutant, or the core itself, or a mutant with a further seed."""

    def __init__(self, args, builder, work, progress):
        self.args, self.builder, self.work, self.progress = args, builder, work, progress

    def fuzz(self, core, target, judge, seed):
        """One target; where the input is that showed something: result["input"]."""
        keep = f"{core.root}/{target}.{judge}.{seed}"
        self.progress.say(f"{core.name or '(the core)'} {target}")
        turn = {"target": target, "judge": judge, "seed": seed, "budget": self.args.budget[target], "cpu": core.cpu}
        r = run.fuzz(self.args, turn, core.program(target), f"{self.work}/honest", keep)
        r["input"] = keep if os.path.exists(keep) else None
        return r

    def control(self, target, cpu):
        core = run.Core(self.builder, None, cpu)
        try:
            r = self.fuzz(core, target, "all", self.args.seed)
            self.keep("core-itself", r["input"])
            return r
        finally:
            core.forget()

    def in_turn(self, core, seed):
        """{target: result}, until one of them kills; with --every all of them."""
        found = {}
        for target in self.args.targets:
            found[target] = self.fuzz(core, target, "all", seed)
            if report.killed(found[target]) and not self.args.every:
                break
        return found

    def alone(self, core, row, seed):
        """A guarantee that breaks with the model left out, by the target that killed it first of all."""
        first, _ = report.killer(row)
        last = None
        for target in sorted(row["targets"], key=lambda t: t != first):
            last = self.fuzz(core, target, "guarantee", seed)
            last["target"] = target
            if report.killed(last):
                break
        return last

    def mutant(self, name, cpu):
        """The row of the table."""
        patch = f"fuzz/mutants/{name}.patch"
        core = run.Core(self.builder, name, cpu)
        try:
            row = {"targets": self.in_turn(core, self.args.seed), "patch": digest(patch)}
            target, r = report.killer(row)
            if r and r["judge"] != "guarantee" and not self.args.once:
                row["alone"] = self.alone(core, row, self.args.seed)
            if r:
                self.keep(name, r["input"])
                if self.args.guardhouse:
                    self.keep(f"{name}.guardhouse", core.guardhouse())
            if r and self.args.steps:
                # with --every more than one may have killed it: where steps are smallest they say most
                found = [dict(x, target=t) for t, x in row["targets"].items() if x["judge"] == "guarantee"]
                if "alone" in row:
                    found.append(row["alone"])
                found.sort(key=lambda x: list(KINDS).index(x["target"]))
                self.count(core, row, found[0] if found else dict(r, target=target))
            said = steps.stated(patch)
            if said and (row.get("steps") or 0) < said[0]:
                row["steps"], row["why"] = said
            return row
        finally:
            core.forget()

    def count(self, core, row, found):
        """row["length"], row["steps"]: of the minimized input; the fewest hostile ones of all seeds count."""
        if not report.killed(found):
            return
        kind = KINDS[found["target"]]
        small, tool = f"{core.root}/small", core.guardhouse()
        self.progress.say(f"{core.name} is minimized")
        env = dict(os.environ, **run.corpora(self.args.builds),
                   GUARDHOUSE_CORPUS=os.path.abspath(f"{self.args.build}/corpus"))
        _, _, status, _ = run.call([tool, "minimize", "--target", kind, "--guarantees", found["input"], "-o", small],
                                   MINIMIZE, core.cpu, env=env)
        if status:
            return
        run.must([tool, "export", "--target", kind, "--text", small, "-o", f"{small}.text"], core.cpu, env=env)
        with open(f"{small}.text", encoding="utf-8") as f:
            text = f.read()
        if kind == "core":
            _, trace, _, _ = run.call([f"{self.args.build}/fuzz/core", small], 60, core.cpu,
                                      env=dict(os.environ, FUZZ_CORE_TRACE="1"))
            length, hostile = steps.core(text, trace)
        else:
            length, hostile = (steps.scenario if kind == "scenario" else steps.ko)(text)
        if row.get("steps") is None or hostile < row["steps"]:
            row["length"], row["steps"], row["text"] = length, hostile, text
        self.keep(f"{core.name}.small", small)

    def again(self, name, seed, cpu):
        """The same with another seed: what it took."""
        core = run.Core(self.builder, name, cpu)
        try:
            row = {"targets": self.in_turn(core, seed)}
            target, r = report.killer(row)
            if r and self.args.steps and r["judge"] == "guarantee":
                self.count(core, row, dict(r, target=target))
            return {"seed": seed, "seconds": report.seconds(row), "killed": r is not None,
                    "steps": row.get("steps"), "length": row.get("length"), "text": row.get("text")}
        finally:
            core.forget()

    def keep(self, name, path):
        if self.args.keep and path:
            os.makedirs(self.args.keep, exist_ok=True)
            shutil.copy(path, f"{self.args.keep}/{name}")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def work_off(jobs, cpus, done, progress):
    """Calls each job(cpu) in --jobs threads; done(job, result) in this one, in the order in which they end."""
    todo, results = queue.SimpleQueue(), queue.SimpleQueue()
    for job in jobs:
        todo.put(job)

    def worker(cpu):
        while not run.stopping.is_set():
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((job, job[0](*job[1:], cpu), None))
            except run.Stopped:
                return
            except Exception as e:  # pylint: disable=broad-except
                results.put((job, None, e))
                return
            finally:
                progress.nothing()

    threads = [threading.Thread(target=worker, args=(c,)) for c in cpus]
    for t in threads:
        t.start()
    try:
        while any(t.is_alive() for t in threads) or not results.empty():
            try:
                job, result, error = results.get(timeout=0.5)
            except queue.Empty:
                progress.show()
                continue
            if error:
                raise error
            progress.done += 1
            progress.clear()
            done(job, result)
    except BaseException:
        run.stop()
        raise
    finally:
        for t in threads:
            t.join()


def line(name, target, r, rest=""):
    return (f"{name:24} {r['judge'] or ('nothing' if name == '(the core)' else 'ALIVE'):10} {target or '-':6} "
            f"{rest:>14} {r['executions']:>10} {r['seconds']:>8}  {r['what']}")


def mutant_line(args, name, row):
    target, r = report.killer(row)
    if not r:
        r = {"judge": None, "what": " ".join(x["what"] for x in row["targets"].values()),
             "executions": sum(x["executions"] for x in row["targets"].values())}
    g = row.get("alone")
    rest = "same" if r["judge"] == "guarantee" else "" if not g else f"{g['seconds']} s" if report.killed(g) else "-"
    text = line(name, target, dict(r, seconds=report.seconds(row)), rest)
    return text + (f"  [{row.get('steps', '?')} of {row.get('length', '?')} steps hostile]" if args.steps else "")


class State:
    """All results, kept in --json after each of them."""

    def __init__(self, args, names):
        self.args, self.names = args, names
        self.settings = {"engine": args.engine, "targets": args.targets, "budget": args.budget, "seed": args.seed,
                         "model": args.tree, "every": args.every, "once": args.once, "steps": args.steps}
        self.control, self.table, self.others = {}, {}, {}
        if args.resume and os.path.exists(args.json):
            with open(args.json, encoding="utf-8") as f:
                old = json.load(f)
            if old.get("settings") != self.settings:
                os.replace(args.json, args.json + ".old")
                print(f"fuzz_mutants: what was kept is of another core or had other settings: all anew ({args.json}.old)",
                      file=sys.stderr)
                return
            self.control = old["control"]
            for n, r in old["mutants"].items():
                patch = f"fuzz/mutants/{n}.patch"
                if os.path.exists(patch) and r["patch"] == digest(patch):
                    (self.table if n in names else self.others)[n] = r

    def save(self):
        self.control = {t: self.control[t] for t in self.args.targets if t in self.control}
        self.table = {n: self.table[n] for n in self.names if n in self.table}
        if self.args.json:
            with open(self.args.json + ".new", "w", encoding="utf-8") as f:
                json.dump({"settings": self.settings, "control": self.control,
                           "mutants": {**self.others, **self.table}}, f, indent=1)
            os.replace(self.args.json + ".new", self.args.json)

    def slowest(self):
        return sorted(self.table, key=lambda n: (-report.seconds(self.table[n]), n))[:SLOWEST]

    def verdict(self):
        """What is wrong, as lines; none: all is well."""
        bad = [f"the core itself: {t}: {r['judge']}" for t, r in self.control.items() if r["judge"]]
        bad += [f"{n} lives" for n, r in self.table.items() if not report.killer(r)[0]]
        multi = report.multi_step(self.table)
        if self.args.steps and not self.args.once:
            bad += [f"{n} needs {r['steps']} hostile steps, and no guarantee breaks" for n, r in multi.items()
                    if report.killer(r)[0] and not report.by_guarantee(r)]
            if not self.args.names and len(multi) < report.MULTI_STEP:
                bad.append(f"only {len(multi)} mutants need two hostile steps, not {report.MULTI_STEP}")
        return bad


def hunt_all(args, state, work):
    run.must([f"{args.build}/fuzz/seeds", f"{work}/seeds", sorted(glob.glob("corpus/scenarios/*.scn"))[0]])
    for t in args.targets:
        os.makedirs(f"{work}/honest/{t}")
        shutil.copy(f"{work}/seeds/{t}/{run.TARGETS[t][1]}", f"{work}/honest/{t}/honest")
    builder = run.Builder(args, work)
    controls = [t for t in args.targets if args.control and t not in state.control]
    names = [n for n in state.names if n not in state.table]
    progress = Progress(len(controls) + len(names))
    hunt = Hunt(args, builder, work, progress)
    print(f"{'mutant':24} {'killed by':10} {'target':6} {'guarantee':>14} {'executions':>10} {'seconds':>8}", flush=True)

    def done(job, r):
        if job[0] == hunt.control:
            state.control[job[1]] = r
            print(line("(the core)", job[1], r), flush=True)
        elif job[0] == hunt.mutant:
            state.table[job[1]] = r
            print(mutant_line(args, job[1], r), flush=True)
        else:
            row = state.table[job[1]]
            row.setdefault("seeds", []).append(r)
            row["seeds"].sort(key=lambda x: x["seed"])
            if r["steps"] is not None and not row.get("why") and r["steps"] < row.get("steps", r["steps"] + 1):
                row.update(steps=r["steps"], length=r["length"], text=r["text"])
            print(f"{job[1]:24} seed {r['seed']}: {'killed' if r['killed'] else 'ALIVE'} {r['seconds']} s", flush=True)
        state.save()

    cpus = sorted(os.sched_getaffinity(0))[:args.jobs] if args.jobs > 1 else [None]
    work_off([(hunt.control, t) for t in controls] + [(hunt.mutant, n) for n in names], cpus, done, progress)
    if run.stopping.is_set():
        return
    more = [(hunt.again, n, s) for n in state.slowest() for s in range(args.seed + 1, args.seed + args.seeds)
            if s not in [x["seed"] for x in state.table[n].get("seeds", [])]]
    progress.total += len(more)
    work_off(more, cpus, done, progress)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        """One line."""
        self.exit(2, f"fuzz_mutants: {message} (see --help)\n")


def arguments():
    parser = Parser(description="Do the fuzz targets find planted bugs of the core?")
    parser.add_argument("names", nargs="*", help="of fuzz/mutants/*.patch, without .patch (all)")
    parser.add_argument("--targets", default="core,guest,ko", help="one after the other (core,guest,ko)")
    parser.add_argument("--budget", default="60", help="seconds for each target; a list: one for each (60)")
    parser.add_argument("--every", action="store_true", help="try all targets, even where one has found it")
    parser.add_argument("--engine", choices=sorted(run.ENGINES), default="libfuzzer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help=f"the {SLOWEST} slowest with N seeds in all")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each on a core of its own (1)")
    parser.add_argument("--steps", action="store_true", help="minimize what killed, and count hostile steps")
    parser.add_argument("--control", action="store_true", help="run the core itself, too")
    parser.add_argument("--once", action="store_true", help="do not ask for a guarantee where the model spoke")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--builds", default="build", help="where the engines' builds are")
    parser.add_argument("--keep", help="folder for the inputs that killed")
    parser.add_argument("--guardhouse", action="store_true",
                        help="with --keep: beside each of them guardhouse with that bug, NAME.guardhouse")
    parser.add_argument("--json", help="keep the results in this file, after each of them")
    parser.add_argument("--resume", action="store_true", help="go on with what --json has")
    parser.add_argument("--out", metavar="FILE.md", help="write a table in Markdown, and beside it a plot, FILE.svg")
    args = parser.parse_args()
    asked = args.targets.split(",")
    budgets = args.budget.split(",")
    if not all(t in run.TARGETS for t in asked) or len(set(asked)) < len(asked):
        parser.error(f"--targets {args.targets}: expected some of {','.join(run.TARGETS)}")
    if not all(b.isdigit() and int(b) for b in budgets) or len(budgets) not in (1, len(asked)):
        parser.error(f"--budget {args.budget}: expected seconds, or as many numbers as there are targets")
    args.targets = [t for t in asked if t in run.there_are(args.builds)]
    budget = dict(zip(asked, map(int, budgets * (len(asked) if len(budgets) == 1 else 1))))
    args.budget = {t: budget[t] for t in args.targets}
    for t in set(asked) - set(args.targets):
        print(f"fuzz_mutants: {t} is left out: {run.missing(t, args.builds)}", file=sys.stderr)
    if not args.targets:
        parser.error("no target is left")
    if not 1 <= args.jobs <= len(os.sched_getaffinity(0)):
        parser.error(f"--jobs {args.jobs}: expected 1 to {len(os.sched_getaffinity(0))}, the cores there are")
    if args.seeds < 1 or (args.resume and not args.json):
        parser.error("--seeds is 1 or more; --resume needs --json")
    if args.out and (os.path.isdir(args.out) or not os.access(os.path.dirname(args.out) or ".", os.W_OK)):
        parser.error(f"--out {args.out}: cannot be written")
    if args.json:
        try:
            os.makedirs(os.path.dirname(args.json) or ".", exist_ok=True)
        except OSError as e:
            parser.error(f"{e.filename}: {e.strerror}")
    every = sorted(os.path.basename(p)[:-6] for p in glob.glob("fuzz/mutants/*.patch"))
    for n in args.names:
        if n not in every:
            parser.error(f"{n}: no such mutant")
    args.tree = run.tree_id()
    return args, args.names or every


def main():
    args, names = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: run.stop())
    state, partial, failed = State(args, names), None, None
    with tempfile.TemporaryDirectory() as work:
        try:
            hunt_all(args, state, work)
        except run.Stopped:
            pass
        except run.Failed as e:
            failed = str(e)
    if failed or run.stopping.is_set():
        partial = f"{len(state.table)} of {len(names)} mutants were tried, then it was stopped"
    state.save()
    if args.out and (state.table or not failed):
        report.markdown(args, state.table, state.control, partial)
    if failed:
        print(f"fuzz_mutants: {failed}", file=sys.stderr)
        return 2
    bad = state.verdict()
    if not partial:
        for text in bad:
            print(f"fuzz_mutants: {text}", file=sys.stderr)
    print((f"{partial}: " if partial else "") + report.summary(args, state.table))
    return 130 if partial else 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
