# SPDX-License-Identifier: GPL-2.0-only
"""Of tools/fuzz_mutants.py: builds targets with a planted bug, and runs an engine on them.

Every command is a process group of its own: Ctrl-C on a terminal reaches this tool alone, and it ends
what it started (stop()).
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

ENGINES = {"libfuzzer": "clang", "afl": "afl-clang-fast"}
FEEDBACK = {"libfuzzer": ["-fsanitize-coverage=inline-8bit-counters,pc-table"], "afl": []}
CFLAGS = ("-std=c11 -I. -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -O2 -g -w").split()
PACKAGES = "unicorn libelf libdw jansson libsodium liblzma libzstd".split()
# name: longest input (fuzz/events/core.h, fuzz/puppet/puppet.h, fuzz/drivers/), honest seed, folder of its parts
TARGETS = {"core": (257, "honest0", "events"), "guest": (8192, "honest", "puppet"),
           "ko": (197, "honest", "drivers")}

stopping = threading.Event()
running, lock = set(), threading.RLock()  # a signal may come while the main thread has it


class Failed(Exception):
    """Something that has to work does not; the text is for the user."""


class Stopped(Exception):
    """stop() was called."""


def tree_id():
    """Git's name of what model/ holds now."""
    def git(*command):
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        return done.stdout.strip() if not done.returncode else None

    tree = git("rev-parse", "--short=12", "HEAD:model")
    if not tree:
        return "unknown"
    return tree + (" and changes" if git("status", "--porcelain", "--", "model") else "")


def missing(target, builds):
    """Why a target cannot run here, or None."""
    if not os.path.exists(f"fuzz/targets/{target}.c"):
        return f"there is no fuzz/targets/{target}.c"
    if target == "ko" and not os.path.isdir(f"{builds}/debian/modules"):
        return "it needs a real driver (make corpus-debian)"
    return None


def there_are(builds):
    """The targets that can run here."""
    return [t for t in TARGETS if not missing(t, builds)]


def corpora(builds):
    """Where targets find modules, as variables of the environment."""
    return {"FUZZ_GUEST_CORPUS": f"{builds}/release/corpus", "FUZZ_KO_CORPUS": f"{builds}/debian"}


def stop():
    """Ends every process that runs; all that begins later raises Stopped."""
    stopping.set()
    with lock:
        for child in running:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def call(command, limit, cpu=None, **how):
    """(standard output, standard error, exit status, seconds); status -1: it took too long."""
    if cpu is not None:
        command = ["taskset", "-c", str(cpu), *command]
    start = time.monotonic()
    with lock:
        if stopping.is_set():
            raise Stopped
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, start_new_session=True, **how)
        running.add(child)
    try:
        out, err = child.communicate(timeout=limit)
        status = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        status = -1
    finally:
        with lock:
            running.discard(child)
    if stopping.is_set():
        raise Stopped
    return out.decode(errors="replace"), err.decode(errors="replace"), status, time.monotonic() - start


def must(command, cpu=None, **how):
    """Standard output of a command that has to succeed."""
    out, err, status, _ = call(command, 600, cpu, **how)
    if status:
        raise Failed(f"{' '.join(command)}: {(out + err).strip()[-2000:]}")
    return out


class Builder:
    """Programs with another core; what the judges are made of is compiled already."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.base = f"{work}/base"
        self.sources = sorted(glob.glob("model/*.c"))
        self.libraries = must(["pkg-config", "--libs", *PACKAGES]).split() + ["-lZydis", "-lZycore", "-lm"]
        for target in args.targets:
            self.judges(target)
        os.makedirs(self.base)
        for c in self.sources:
            self.compile(c, ".", self.base, None)

    def judges(self, target):
        b = self.args.build
        alone = [f"{b}/fuzz/targets/{target}.o", *self.shared()]
        for o in [*alone, f"{b}/libguardhouse.a", f"{b}/fuzz/seeds"]:
            if not os.path.exists(o):
                raise Failed(f"{o}: is not built (make all fuzz-targets)")
        return sorted(glob.glob(f"{b}/fuzz/{TARGETS[target][2]}/*.o")) + alone

    def shared(self):
        """What most targets and `guardhouse` have in common."""
        b = self.args.build
        return [f"{b}/fuzz/{o}.o" for o in ("fuzz", "steps", "feedback")] + [f"{b}/tests/support/manifest_builder.o"]

    def compile(self, source, root, out, cpu, plain=False):
        engine = self.args.engine
        must(["clang" if plain else ENGINES[engine], *CFLAGS, *([] if plain else FEEDBACK[engine]), "-c",
              os.path.abspath(f"{root}/{source}"), "-o",
              os.path.abspath(f"{out}/{os.path.basename(source)[:-2]}.o")], cpu, cwd=root)

    def link(self, target, objects, program, cpu):
        must([ENGINES[self.args.engine], "-fsanitize=fuzzer", "-rdynamic", "-pthread", *self.judges(target),
              *objects, f"{self.args.build}/libguardhouse.a", *self.libraries, "-o", program], cpu)
        return program


class Core:
    """The core with one bug, or None: as it is."""

    def __init__(self, builder, name, cpu):
        self.builder, self.name, self.cpu = builder, name, cpu
        self.root = tempfile.mkdtemp(prefix=f"{name or 'unchanged'}.", dir=builder.work)  # with another seed: another
        os.mkdir(f"{self.root}/o")
        objects = {os.path.basename(o): o for o in glob.glob(f"{builder.base}/*.o")}
        if name:
            shutil.copytree("model", f"{self.root}/model")
            patch = os.path.abspath(f"fuzz/mutants/{name}.patch")
            must(["patch", "-s", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-i", patch], cwd=self.root)
            with open(patch, encoding="utf-8") as f:
                changed = re.findall(r"^\+\+\+ b/(\S+)", f.read(), re.M)
            header = any(f.endswith(".h") for f in changed)
            for c in builder.sources if header else [f for f in changed if f.endswith(".c")]:
                builder.compile(c, self.root, f"{self.root}/o", cpu)
                o = os.path.basename(c)[:-2] + ".o"
                objects[o] = f"{self.root}/o/{o}"
        self.objects = sorted(objects.values())

    def program(self, target):
        path = f"{self.root}/{target}"
        return path if os.path.exists(path) else self.builder.link(target, self.objects, path, self.cpu)

    def guardhouse(self):
        """`guardhouse` with this bug: it plays and minimizes what killed it."""
        path, b = f"{self.root}/guardhouse", self.builder.args.build
        if not os.path.exists(path):
            os.makedirs(f"{self.root}/plain")
            for c in self.builder.sources:
                self.builder.compile(c, self.root if self.name else ".", f"{self.root}/plain", self.cpu, plain=True)
            must(["clang", "-rdynamic", "-pthread", f"{b}/cli/main.o", "-Wl,--whole-archive", f"{b}/libguardhouse.a",
                  "-Wl,--no-whole-archive", *self.builder.shared(), *sorted(glob.glob(f"{self.root}/plain/*.o")),
                  *self.builder.libraries, "-o", path], self.cpu)
        return path

    def forget(self):
        shutil.rmtree(self.root, ignore_errors=True)


def judged(text, status):
    """(judge, what it said) of a program's standard error; judge None: it saw nothing."""
    said = re.search(r"^fuzz-(?:core|guest|ko): (guarantee|model|bed): (.*)", text, re.M)
    if said:
        return said.groups()
    if not status:
        return None, ""
    why = re.search(r"^SUMMARY: .*|^==.*ERROR: .*", text, re.M)
    return "crash", why.group(0) if why else f"exit status {status}"


def run_libfuzzer(args, turn, program, corpus, env, tmp):
    """(judge, what, seconds, executions, the input)"""
    _, text, status, seconds = call(
        [program, f"-seed={turn['seed']}", f"-max_total_time={turn['budget']}",
         f"-max_len={TARGETS[turn['target']][0]}", "-timeout=10", "-rss_limit_mb=6144", "-entropic=0", "-reload=0",
         "-print_final_stats=1", f"-artifact_prefix={tmp}/", corpus], turn["budget"] + 60, turn["cpu"], env=env)
    count = re.search(r"^stat::number_of_executed_units: (\d+)", text, re.M)
    finds = glob.glob(f"{tmp}/crash-*") + glob.glob(f"{tmp}/timeout-*")
    return (*judged(text, status), seconds, int(count.group(1)) if count else 0, finds)


def run_afl(args, turn, program, corpus, env, tmp):
    longest, target = TARGETS[turn["target"]][0], turn["target"]
    env = dict(env, AFL_SKIP_CPUFREQ="1", AFL_NO_AFFINITY="1", AFL_NO_UI="1", AFL_BENCH_UNTIL_CRASH="1",
               AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES="1", AFL_FAST_CAL="1",
               AFL_CUSTOM_MUTATOR_LIBRARY=os.path.abspath(f"{args.builds}/guard-afl/fuzz/{target}-mutator.so"),
               AFL_CUSTOM_MUTATOR_ONLY="1")
    _, text, status, seconds = call(
        ["afl-fuzz", "-V", str(turn["budget"]), "-s", str(turn["seed"]), "-t", "10000", "-m", "none",
         "-G", str(longest), "-i", corpus, "-o", f"{tmp}/afl", "--", program],
        turn["budget"] + 60, turn["cpu"], env=env)
    finds = glob.glob(f"{tmp}/afl/default/crashes/id:*") + glob.glob(f"{tmp}/afl/default/hangs/id:*")
    judge, what = (None, "") if not status else ("crash", text[-200:].strip())
    if status and not finds:
        finds = glob.glob(f"{corpus}/*")  # the engine does not begin where a seed fails
    if finds:
        # outside of the engine: what does it show?
        _, said, code, _ = call([program, finds[0]], 60, turn["cpu"], env=env)
        judge, what = judged(said, code)
        if judge is None:
            judge, what = "crash", "AFL++ saw a crash that a replay does not show"
    try:
        with open(f"{tmp}/afl/default/fuzzer_stats", encoding="ascii") as f:
            done = int(re.search(r"^execs_done *: (\d+)", f.read(), re.M).group(1))
    except (OSError, AttributeError):
        done = 0
    return judge, what, seconds, done, finds


def fuzz(args, turn, program, seeds, keep):
    """One engine, one program. turn: target, judge (all, guarantee), seed, budget, cpu. Returns the judge
    (None: nothing was found), what it said, executions, seconds; the input that showed it is copied to `keep`."""
    with tempfile.TemporaryDirectory() as tmp:
        corpus = f"{tmp}/corpus"
        shutil.copytree(f"{seeds}/{turn['target']}", corpus)
        env = dict(os.environ, FUZZ_GUEST_CORPUS=f"{args.build}/corpus", FUZZ_KO_CORPUS="build/debian")
        for t in TARGETS:
            env[f"FUZZ_{t.upper()}_JUDGE"] = turn["judge"]
            env.pop(f"FUZZ_{t.upper()}_TRACE", None)
        engine = run_afl if args.engine == "afl" else run_libfuzzer
        found, what, seconds, done, finds = engine(args, turn, program, corpus, env, tmp)
        if finds:
            shutil.copy(finds[0], keep)
        return {"judge": found, "what": what, "seconds": round(seconds, 1), "executions": done}
