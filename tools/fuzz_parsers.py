#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the fuzz targets of fuzz/targets/ in turn on libFuzzer and AFL++ (docs/fuzzing.md).

One engine runs at a time. What was found before counts again: each find is tried on the present
programs, and while one of them still fails the exit status is 1, with the file's name.
Ctrl-C ends it early, keeps all, and the same command goes on.

With --guard the targets that are about the core run at full speed, without sanitizers; what came of it,
and what the inputs reach of the core, tools/fuzz_report.py tells.
"""
import argparse
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import fuzz_mutants_run as guard

# Share of the time. What has most code behind it gets most.
TARGETS = {"wrap": 4, "check": 4, "manifest": 2, "scenario": 2, "core": 2, "guest": 2, "ko": 2, "binding": 1, "unpack": 1}
# At full speed, feedback of model/ alone: VARIANT=guard-ENGINE; with --guard `core`, too.
GUARD = ("guest", "ko")
ENGINES = ("libfuzzer", "afl")
MAX_INPUT = 128 << 10
# Bytes that one allocation may have, in MiB: no input is larger than 128 KiB. Unpacking has the
# bounds of lib/unpack.c.
ALLOCATION = {"unpack": 300}
ALLOCATION_DEFAULT = 64
MEMORY = {"guest": 6144, "ko": 6144}  # Unicorn keeps what it has translated
MEMORY_DEFAULT = 1024
HANG = {"guest": 30, "ko": 30}  # seconds for one input; a machine with other work is slow
HANG_DEFAULT = 10
RESTARTS = 20  # libFuzzer ends at a find


class Target:
    def __init__(self, args, name):
        self.name, self.args = name, args
        self.seeds, self.corpus = f"{args.dir}/seeds/{name}", f"{args.dir}/corpus/{name}"
        self.finds, self.afl = f"{args.dir}/finds/{name}", f"{args.dir}/afl/{name}"
        self.regressions = f"corpus/regressions/{name}"
        self.dictionary = f"{args.dir}/seeds/{name}.dict"
        self.allocation = ALLOCATION.get(name, ALLOCATION_DEFAULT)
        self.memory = MEMORY.get(name, MEMORY_DEFAULT)
        self.hang = HANG.get(name, HANG_DEFAULT)
        for d in (self.corpus, self.finds, f"{args.dir}/afl", f"{args.dir}/logs"):
            os.makedirs(d, exist_ok=True)

    def program(self, engine):
        fast = self.name in GUARD or (self.args.guard and self.name in guard.TARGETS)
        build = f"guard-{engine}" if fast else engine
        return f"{self.args.builds}/{build}/fuzz/{self.name}"

    @property
    def longest(self):
        """Bytes that an input may have."""
        return guard.TARGETS[self.name][0] if self.name in guard.TARGETS else MAX_INPUT

    def log(self, engine):
        return f"{self.args.dir}/logs/{self.name}.{engine}.log"

    def libfuzzer(self, *more):
        return [self.program("libfuzzer"), f"-timeout={self.hang}", f"-rss_limit_mb={self.memory}",
                f"-malloc_limit_mb={self.allocation}", *more]

    def found_by(self, engine):
        return [f"{self.finds}/{n}" for n in os.listdir(self.finds)
                if n.startswith("afl-") == (engine == "afl")]

    def environment(self, engine):
        env = dict(os.environ)
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            env.pop(name, None)
        env["UBSAN_OPTIONS"] = "print_stacktrace=1"
        for name, folder in guard.corpora(self.args.builds).items():
            env.setdefault(name, folder)
        if engine == "afl":
            env["ASAN_OPTIONS"] = ("abort_on_error=1:symbolize=0:detect_leaks=0:"
                                   f"allocator_may_return_null=0:max_allocation_size_mb={self.allocation}:"
                                   f"hard_rss_limit_mb={self.memory}")
            env["UBSAN_OPTIONS"] = "abort_on_error=1:symbolize=0"
            env.update(AFL_SKIP_CPUFREQ="1", AFL_NO_AFFINITY="1", AFL_NO_UI="1", AFL_AUTORESUME="1",
                       AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES="1", AFL_NO_COLOR="1", AFL_FAST_CAL="1")
            mutator = os.path.abspath(f"{self.program(engine)}-mutator.so")
            if os.path.exists(mutator):
                env["AFL_CUSTOM_MUTATOR_LIBRARY"] = mutator
        return env

    def fails(self, path):
        """Does the present program fail on this input? What it says, or None."""
        run = subprocess.run(self.libfuzzer("-runs=0", path), env=self.environment("libfuzzer"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, timeout=20 * self.hang, check=False)
        text = run.stderr.decode(errors="replace")
        why = re.search(r"fuzz: does not hold: .*|[^\n]*runtime error: .*|SUMMARY: .*", text)
        return (why.group(0) if why else f"exit status {run.returncode}") if run.returncode else None


class Status:
    """One line on a terminal."""

    def __init__(self):
        self.tty = sys.stderr.isatty()

    def show(self, text):
        if self.tty:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)

    def clear(self):
        self.show("")


def tail(path, n=4096):
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - n))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def last_number(pattern, text, default=0):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else default


def wait(child, limit, tick):
    """Until the child ends; past the limit it is ended. Ctrl-C reaches it, too: it ends by itself."""
    start = time.monotonic()
    try:
        while child.poll() is None:
            tick(time.monotonic() - start)
            if time.monotonic() - start > limit:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(30)
                except subprocess.TimeoutExpired:
                    child.kill()
            time.sleep(0.5)
    except KeyboardInterrupt:
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


class Jobs:
    """A child that counts, and others that help it: they end when it ends."""

    def __init__(self, target, engine, commands):
        self.children = []
        for n, command in enumerate(commands):
            with open(target.log(engine) + (f".{n}" if n else ""), "ab") as log:
                self.children.append(subprocess.Popen(command, env=target.environment(engine),
                                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    @property
    def returncode(self):
        return self.children[0].returncode

    def poll(self):
        status = self.children[0].poll()
        if status is not None:
            self.end(self.children[1:])
        return status

    def end(self, children):
        for c in children:
            if c.poll() is None:
                c.send_signal(signal.SIGINT)
        for c in children:
            try:
                c.wait(30)
            except subprocess.TimeoutExpired:
                c.kill()
                c.wait()

    def send_signal(self, number):
        for c in self.children:
            if c.poll() is None:
                c.send_signal(number)

    def wait(self, timeout=None):
        self.children[0].wait(timeout)
        self.end(self.children[1:])

    def kill(self):
        for c in self.children:
            if c.poll() is None:
                c.kill()


def run_libfuzzer(target, seconds, say, got):
    until = time.monotonic() + seconds
    open(target.log("libfuzzer"), "wb").close()
    for turn in range(RESTARTS):
        left = int(until - time.monotonic() + 0.5)
        if left < 1:
            break
        before = os.path.getsize(target.log("libfuzzer"))
        # what is slow and comes to its end in time is no find
        command = target.libfuzzer("-report_slow_units=86400", f"-max_total_time={left}", f"-max_len={target.longest}",
                                   "-print_final_stats=1", f"-artifact_prefix={target.finds}/")
        if os.path.exists(target.dictionary):
            command.append(f"-dict={target.dictionary}")
        # those that help share the folder of inputs, and look there for what others found
        command += ["-reload=1", target.corpus, target.seeds]
        child = Jobs(target, "libfuzzer", [command] * target.args.jobs)

        def tick(now, passed=seconds - left):
            text = tail(target.log("libfuzzer"))
            say(passed + now, got["executions"] + last_number(r"#(\d+)\t", text))

        begun = time.monotonic()
        try:
            wait(child, left + 60, tick)
        finally:
            with open(target.log("libfuzzer"), "rb") as f:
                f.seek(before)
                text = f.read().decode(errors="replace")
            got["executions"] += last_number(r"stat::number_of_executed_units: (\d+)", text,
                                             last_number(r"#(\d+)\t", text))
            got["seconds"] += time.monotonic() - begun
            got["edges"] = last_number(r"cov: (\d+)", text, got.get("edges", 0))
            got["of"] = last_number(r"\((\d+) inline 8-bit counters\)", text, got.get("of", 0))
        if child.returncode == 0 or child.returncode == 72:
            break
        if not re.search(r"Test unit written to", text):
            raise SystemExit(f"fuzz: {target.program('libfuzzer')} does not run: see "
                             f"{target.log('libfuzzer')}")


def afl_stats(target):
    try:
        with open(f"{target.afl}/default/fuzzer_stats", encoding="ascii") as f:
            return dict(re.findall(r"^(\w+) *: (\S*)", f.read(), re.M))
    except OSError:
        return {}


def run_afl(target, seconds, say, got):
    command = ["afl-fuzz", "-V", str(int(seconds)), "-t", str(1000 * target.hang), "-m", "none",
               "-G", str(target.longest), "-i", target.seeds, "-o", target.afl]
    if os.path.exists(target.dictionary):
        command += ["-x", target.dictionary]
    open(target.log("afl"), "wb").close()
    before = int(afl_stats(target).get("execs_done", 0))
    roles = [[]] if target.args.jobs == 1 else [["-M", "default"]] + [["-S", f"helper{n}"] for n in
                                                                      range(1, target.args.jobs)]
    child = Jobs(target, "afl", [command + role + ["--", target.program("afl")] for role in roles])
    begun = time.monotonic()
    try:
        wait(child, seconds + 180,
             lambda t: say(t, max(0, int(afl_stats(target).get("execs_done", 0)) - before)))
    finally:
        stats = afl_stats(target)
        done = int(stats.get("execs_done", 0))
        # afl-fuzz goes on counting when it resumes
        got["executions"] += done - before if done >= before else done
        got["seconds"] += time.monotonic() - begun
        got["edges"] = int(stats.get("edges_found", 0))
        got["of"] = int(stats.get("total_edges", 0))
        # named by content, as libFuzzer does: the same find is there once
        for path in glob.glob(f"{target.afl}/*/crashes/id:*") + glob.glob(f"{target.afl}/*/hangs/id:*"):
            with open(path, "rb") as f:
                name = hashlib.sha1(f.read()).hexdigest()
            kind = os.path.basename(os.path.dirname(path))
            shutil.copyfile(path, f"{target.finds}/afl-{kind}-{name}")
    if child.returncode != 0:
        raise SystemExit(f"fuzz: afl-fuzz does not run: see {target.log('afl')}")


RUN = {"libfuzzer": run_libfuzzer, "afl": run_afl}


def load(path):
    try:
        with open(path, encoding="ascii") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def save(path, key, got):
    """One target's sums; others may be at work in the same folder."""
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        totals = load(path)
        totals[key] = got
        with open(path + ".new", "w", encoding="ascii") as f:
            json.dump(totals, f, indent=1, sort_keys=True)
        os.replace(path + ".new", path)


def open_finds(target):
    """Files that still fail, with what is said; of one saying the smallest."""
    found = {}
    names = os.listdir(target.finds)
    for path in sorted((f"{target.finds}/{n}" for n in names), key=os.path.getsize):
        try:
            why = target.fails(path)
        except subprocess.TimeoutExpired:
            why = "hangs"
        if why and why not in found:
            found[why] = path
    return found, len(names)


def count(folder):
    return len([n for n in os.listdir(folder) if n != "README.md"]) if os.path.isdir(folder) else 0


def run_in_parts(args, target, engine, got, seconds, say, keep):
    """Runs for that long in all, at most --slice at a time: after each part its rate and all sums are kept."""
    begun = got["seconds"]
    until = begun + seconds
    while got["seconds"] + 1 <= until:
        part = until - got["seconds"]
        if args.slice and engine == "libfuzzer":
            part = min(part, args.slice)
        before = dict(got)
        try:
            RUN[engine](target, max(1, round(part)),
                        lambda now, done, passed=before["seconds"] - begun: say(passed + now, done), got)
        finally:
            spent = got["seconds"] - before["seconds"]
            if spent >= 1:
                got.setdefault("rates", []).append(round((got["executions"] - before["executions"]) / spent))
            keep()
        if spent < part / 2:
            break  # it finds the same all the time, or does not run


def sums(totals, target, engine):
    """What is kept of a target and engine; of another core nothing counts but the inputs."""
    key, new = f"{target.name} {engine}", {"executions": 0, "seconds": 0, "edges": 0, "of": 0}
    if target.name in guard.TARGETS:
        new["model"] = guard.tree_id()
        if key in totals and totals[key].get("model") != new["model"]:
            print(f"fuzz: {key}: what was counted before was another core: from 0", file=sys.stderr)
            totals.pop(key)
    return totals.setdefault(key, new)


def report(path, targets, totals, still_open):
    out = ["# Fuzzing of the parsers", "",
           "`make fuzz-parsers`: everything that reads a file which somebody else may have made, under",
           "AddressSanitizer (leaks too) and UBSan, with a limit on time and on memory for each input.",
           "`docs/fuzzing.md` says what each target does and asks. Sums over all runs in this folder;",
           "edges are those of the last one, out of all in the program, and each engine counts its own way.",
           "`open`: finds that the present programs still fail on.", "",
           "| target | engine | seconds | executions | a second | edges | of | finds | open |",
           "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    seconds = executions = 0
    for target in targets:
        for engine in ENGINES:
            got = totals.get(f"{target.name} {engine}")
            if not got:
                continue
            seconds += got["seconds"]
            executions += got["executions"]
            out.append(f"| `{target.name}` | {engine} | {got['seconds']:,.0f} | {got['executions']:,} | "
                       f"{got['executions'] / max(1, got['seconds']):,.0f} | {got['edges']:,} | "
                       f"{got['of']:,} | {len(target.found_by(engine))} | "
                       f"{len([x for x in still_open[target.name].values() if x in target.found_by(engine)])} |")
    finds = sum(len(t.found_by(e)) for t in targets for e in ENGINES)
    out += [f"| all | | {seconds:,.0f} | {executions:,} | | | | {finds} | "
            f"{sum(len(x) for x in still_open.values())} |", "",
            "## Inputs kept", "",
            "What was found before, minimised, run by `make test` (`corpus/regressions/README.md`).", "",
            "| target | inputs |", "|---|--:|"]
    out += [f"| `{t.name}` | {count(t.regressions)} |" for t in targets]
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(out) + "\n")


def refuse(text):
    """What cannot be used: one line."""
    print(f"fuzz: {text}", file=sys.stderr)
    sys.exit(2)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seconds", type=int, default=3600, help="in all (default: an hour); 0: only try the finds again")
    p.add_argument("--each", type=int, help="seconds for each target and engine instead")
    p.add_argument("--total", type=int, help="the same, but what was done in this folder before counts")
    p.add_argument("--slice", type=int, default=0, help="of libFuzzer: seconds after which sums are kept (0: at the end)")
    p.add_argument("--guard", action="store_true", help="targets about the core at full speed, without sanitizers")
    p.add_argument("--engines", default=",".join(ENGINES))
    p.add_argument("--targets", help="those that read files; with --guard those that are about the core")
    p.add_argument("--jobs", type=int, default=1, help="processes of one engine")
    p.add_argument("--dir", default="build/fuzz", help="the campaign's folder")
    p.add_argument("--builds", default="build", help="where the engines' builds are")
    p.add_argument("--report", help="write the table there")
    args = p.parse_args()
    engines = args.engines.split(",")
    if not args.targets:
        for t in guard.TARGETS if args.guard else ():
            if guard.missing(t, args.builds):
                print(f"fuzz: {t} is left out: {guard.missing(t, args.builds)}", file=sys.stderr)
        args.targets = ",".join(guard.there_are(args.builds) if args.guard else [t for t in TARGETS if t not in guard.TARGETS])
    targets = [Target(args, t) for t in args.targets.split(",")]
    for target in targets:
        for engine in engines:
            if not os.path.exists(target.program(engine)):
                variant = target.program(engine).split("/")[-3]
                refuse(f"{target.program(engine)}: is not built (make VARIANT={variant} fuzz-targets)")
    if any(not os.path.isdir(t.seeds) for t in targets):
        env = dict(os.environ, OWN="1", BUILD=f"{args.builds}/release")
        if subprocess.run(["fuzz/make-seeds.sh", f"{args.dir}/seeds"], env=env, stdout=subprocess.DEVNULL,
                          check=False).returncode:
            refuse("no seeds (make all fuzz-targets)")
    weights = sum(TARGETS.get(t.name, 1) for t in targets) * len(engines)
    state = f"{args.dir}/campaign.json"
    totals, status, interrupted = load(state), Status(), False
    turns = [(t, e) for t in targets for e in engines] if args.seconds or args.each or args.total else []
    for i, (target, engine) in enumerate(turns):
        got = sums(totals, target, engine)
        seconds = (max(0, round(args.total - got["seconds"])) if args.total else
                   args.each or max(1, args.seconds * TARGETS.get(target.name, 1) // weights))
        had = got["executions"]

        def say(now, done, at=(i + 1, target.name, engine, seconds, had)):
            status.show(f"[{at[0]}/{len(turns)}] {at[1]} {at[2]}: {now:.0f} of {at[3]} s, "
                        f"{max(0, done - (at[4] if at[2] == 'libfuzzer' else 0)):,} executions, "
                        f"{len(os.listdir(f'{args.dir}/finds/{at[1]}'))} finds")

        try:
            run_in_parts(args, target, engine, got, seconds, say,
                         lambda key=f"{target.name} {engine}", got=got: save(state, key, got))
        except KeyboardInterrupt:
            interrupted = True
        status.clear()
        if interrupted:
            print(f"fuzz: stopped; all is kept in {args.dir}, the same command goes on")
            return 130
        print(f"{target.name:10} {engine:10} {got['executions'] - had:12,} executions, "
              f"{got['edges']:6,} of {got['of']:,} edges", flush=True)
    still_open, bad = {}, 0
    for target in targets:
        still_open[target.name], n = open_finds(target)
        for why, path in still_open[target.name].items():
            print(f"fuzz: {path}: {why}", file=sys.stderr)
            bad += 1
    if args.report:
        report(args.report, targets, totals, still_open)
    print(f"{bad} finds" + (f", {args.report}" if args.report else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as e:
        refuse(f"{e.filename}: {e.strerror}")
