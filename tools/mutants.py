#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Would the core's unit tests notice if a check were missing?

Every condition in model/ (of if, while, for and ?:) is forced to true and to false, and every
operand of && to true and of || to false, one at a time; then tests/model_*_test must fail. The
mutants are generated from the source, never picked. What survives is listed and makes this fail,
unless tests/mutants-equivalent.txt argues why no test can tell it from the original:

    FILE:FUNCTION:CONDITION:FORCED  -- REASON

(CONDITION as --list prints it, with #2, #3 for the same text again in that function.) An argument
whose mutant no longer exists, or is killed by now, makes this fail too.

How: a copy of model/ is rewritten so that each condition asks which mutant is on; that copy is
compiled once, linked with the built test objects, and GUARD_MUTANT=ID in the environment selects
one. A forced condition is still evaluated. A first run of each program records which mutants
change a value in it at all, so only those programs are run for a mutant. Endless loops are killed
by a limit on CPU time, and count as noticed.
"""

import argparse
import concurrent.futures
import glob
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ARGUED = "tests/mutants-equivalent.txt"

RUNTIME_H = r"""
extern unsigned int gm_now;
extern unsigned char *gm_seen;
/* id: forced true, id + 1: forced false. A mutant that never changes a value cannot be noticed. */
static inline int gm_true(unsigned int id, int value)
{
	if (gm_seen && !value)
		gm_seen[id] = 1;
	return gm_now == id ? 1 : value;
}
static inline int gm_false(unsigned int id, int value)
{
	if (gm_seen && value)
		gm_seen[id] = 1;
	return gm_now == id ? 0 : value;
}
static inline int gm_both(unsigned int id, int value)
{
	return gm_false(id + 1, gm_true(id, value));
}
"""

RUNTIME_C = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

unsigned int gm_now;
unsigned char *gm_seen;

static void limit(int what, rlim_t n)
{
	struct rlimit r = { n, n };

	setrlimit(what, &r);
}

__attribute__((constructor)) static void gm_start(void)
{
	const char *now = getenv("GUARD_MUTANT"), *cpu = getenv("GUARD_MUTANT_CPU");
	const char *seen = getenv("GUARD_MUTANT_SEEN");

	gm_now = now ? (unsigned int)atoi(now) : 0;
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 64 << 20);
	limit(RLIMIT_AS, 4ul << 30);
	if (cpu)
		limit(RLIMIT_CPU, (rlim_t)atoi(cpu));
	if (seen) {
		int fd = open(seen, O_RDWR);

		gm_seen = mmap(0, GM_COUNT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (gm_seen == MAP_FAILED)
			abort();
	}
}
"""

TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<directive>(?m:^)[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*)
      | (?P<string>(?:[LuU]|u8)?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<mark><<=|>>=|\.\.\.|&&|\|\||==|!=|<=|>=|->|\+\+|--|<<|>>|[-+*/%&|^]=|[^\s\w])
    """,
    re.X | re.S,
)
OPEN = {"(": ")", "[": "]", "{": "}"}
# What an operand of && or || cannot reach across.
ENDS = set("; , ? : = += -= *= /= %= &= |= ^= <<= >>= return else do case default goto".split())
# Not evaluated, or evaluated by the compiler.
SKIP = set(
    "_Static_assert static_assert sizeof _Alignof alignof typeof __typeof__ offsetof "
    "__builtin_offsetof __attribute__".split()
)
CONSTANT = {"0", "1", "true", "false"}


class Bad(Exception):
    pass


class Token:
    def __init__(self, text, start):
        self.text = text
        self.start = start
        self.end = start + len(text)
        self.match = None


class Mutant:
    def __init__(self, source, first, last, how):
        self.file = source.file
        self.function = source.function
        self.line = source.text.count("\n", 0, source.tokens[first].start) + 1
        self.start = source.tokens[first].start
        self.end = source.tokens[last - 1].end
        self.how = how  # "both", "true" or "false"
        self.condition = source.plain(first, last)
        self.id = 0

    def forced(self):
        """(id, value) of each mutant of this condition."""
        if self.how == "both":
            return [(self.id, "true"), (self.id + 1, "false")]
        return [(self.id, self.how)]


class Source:
    """One C file: its tokens and, in `mutants`, its conditions."""

    def __init__(self, file, text):
        self.file = file
        self.text = text
        self.tokens = []
        self.mutants = []
        self.function = None
        self.tokenize()
        self.functions()

    def fail(self, at, what):
        raise Bad("%s:%d: %s" % (self.file, self.text.count("\n", 0, at) + 1, what))

    def tokenize(self):
        stack = []
        for m in TOKEN.finditer(self.text):
            kind = m.lastgroup
            if kind == "directive":
                body = re.sub(r"\\\n", " ", m.group())
                if re.match(r"\s*#\s*define\b", body):
                    body = re.sub(r"\bwhile\s*\(\s*0\s*\)", "", body)
                    if re.search(r"\b(if|while|for)\s*\(", body):
                        self.fail(m.start(), "a condition in a macro cannot be forced for one use alone")
            if kind in ("comment", "directive"):
                continue
            token = Token(m.group(), m.start())
            if kind == "mark" and token.text in OPEN:
                stack.append(len(self.tokens))
            elif kind == "mark" and token.text in OPEN.values():
                if not stack or OPEN[self.tokens[stack[-1]].text] != token.text:
                    self.fail(m.start(), "unbalanced '%s'" % token.text)
                token.match = stack.pop()
                self.tokens[token.match].match = len(self.tokens)
            self.tokens.append(token)
        if stack:
            self.fail(self.tokens[stack[-1]].start, "unbalanced '%s'" % self.tokens[stack[-1]].text)

    def word(self, i):
        return self.tokens[i].text if 0 <= i < len(self.tokens) else ""

    def plain(self, first, last):
        """The text of some tokens on one line, without comments."""
        out, end = "", None
        for t in self.tokens[first:last]:
            if end is not None and end != t.start:
                out += " "
            out += t.text
            end = t.end
        return out

    def functions(self):
        i, name = 0, None
        while i < len(self.tokens):
            t = self.tokens[i]
            if t.text == "(":
                if re.match(r"[A-Za-z_]", self.word(i - 1)) and self.word(i - 1) not in SKIP:
                    name = self.word(i - 1)
                i = t.match
            elif t.text == "{":
                if self.word(i - 1) == ")" and name:
                    self.function = name
                    self.walk(i + 1, t.match)
                i = t.match
            elif t.text == ";":
                name = None
            i += 1

    def whole(self, first, last):
        if first < last and self.plain(first, last) not in CONSTANT:
            self.mutants.append(Mutant(self, first, last, "both"))

    def walk(self, first, last):
        """The statements or the expression in tokens first..last-1, all at one depth."""
        i = begin = first
        while i < last:
            t = self.tokens[i]
            if t.text in ("if", "while", "switch", "for") and self.word(i + 1) == "(":
                self.operands(begin, i)
                inner, end = i + 2, self.tokens[i + 1].match
                if t.text == "for":
                    cuts = self.cut(inner, end, ";")
                    if len(cuts) != 3:
                        self.fail(t.start, "expected three parts in for (...)")
                    self.whole(*cuts[1])
                    for a, b in cuts:
                        self.walk(a, b)
                else:
                    if t.text != "switch":
                        self.whole(inner, end)
                    self.walk(inner, end)
                i = begin = end + 1
            elif t.text in SKIP and self.word(i + 1) == "(":
                i = self.tokens[i + 1].match + 1
            elif t.text == "static" or (t.text == "enum" and "{" in (self.word(i + 1), self.word(i + 2))):
                # A constant initialiser.
                while i < last and self.tokens[i].text != ";":
                    i = (self.tokens[i].match if self.tokens[i].text in OPEN else i) + 1
                begin = i
            elif t.text in OPEN:
                self.walk(i + 1, t.match)
                i = t.match + 1
                if t.text == "{":
                    begin = i
            elif t.text in ENDS:
                if t.text == "?":
                    self.whole(begin, i)
                self.operands(begin, i)
                i += 1
                begin = i
            else:
                i += 1
        self.operands(begin, last)

    def cut(self, first, last, mark):
        """Splits at a mark, not looking into brackets."""
        parts, begin, i = [], first, first
        while i < last:
            t = self.tokens[i]
            if t.text in OPEN:
                i = t.match
            elif t.text == mark:
                parts.append((begin, i))
                begin = i + 1
            i += 1
        parts.append((begin, last))
        return parts

    def operands(self, first, last):
        parts = self.cut(first, last, "||")
        for a, b in parts:
            if len(parts) > 1:
                self.mutants.append(Mutant(self, a, b, "false"))
            inner = self.cut(a, b, "&&")
            if len(inner) > 1:
                self.mutants.extend(Mutant(self, c, d, "true") for c, d in inner)

    def rewritten(self):
        """The file with every condition wrapped; a line keeps its number."""
        marks = []
        for m in self.mutants:
            size = m.end - m.start
            marks.append((m.start, 1, -size, "gm_%s(%du, !!(" % (m.how, m.id)))
            marks.append((m.end, 0, size, "))"))
        out, at = ['#line 1 "%s"\n' % self.file], 0
        for where, _, _, text in sorted(marks):
            out += [self.text[at:where], text]
            at = where
        return "".join(out) + self.text[at:]


def find(files):
    """All sources, and {id: (key, place)} of every mutant."""
    sources, mutants, count, number = [], {}, {}, 1
    for file in files:
        with open(file, encoding="utf-8") as f:
            source = Source(file, f.read())
        source.mutants.sort(key=lambda m: (m.start, -m.end))
        for m in source.mutants:
            m.id = number
            number += 2
            name = (file, m.function, m.condition)
            # The same text may be a condition and an operand elsewhere; one number a place.
            count[name] = count.get(name, 0) + 1
            again = "#%d" % count[name] if count[name] > 1 else ""
            for number_of, value in m.forced():
                key = "%s:%s:%s%s:%s" % (file, m.function, m.condition, again, value)
                mutants[number_of] = (key, m)
        sources.append(source)
    return sources, mutants, number


def argued():
    entries = {}
    if os.path.exists(ARGUED):
        with open(ARGUED, encoding="utf-8") as f:
            for n, line in enumerate(f, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                m = re.match(r"(.*?:(?:true|false))\s+(?:--|—)\s+(\S.*)$", line)
                if not m:
                    raise Bad("%s:%d: expected FILE:FUNCTION:CONDITION:FORCED  -- REASON" % (ARGUED, n))
                entries[m.group(1)] = n
    return entries


def run(command, what, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        raise Bad("could not %s" % what)


class Program:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)
        self.seconds = 0.0
        self.sees = b""

    def execute(self, **env):
        """True if all its tests passed, False if not, None if it had to be stopped."""
        variables = dict(os.environ, CMOCKA_TEST_ABORT="1", CMOCKA_MESSAGE_OUTPUT="TAP", **env)
        cpu = max(2, math.ceil(5 * self.seconds))
        if self.seconds:
            variables["GUARD_MUTANT_CPU"] = str(cpu)
        try:
            code = subprocess.run(
                [self.path],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=20 * cpu + 60,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return None
        if code in (-24, -9):  # SIGXCPU, and SIGKILL at the hard limit
            return None
        return code == 0


def build(args, sources, count, tmp):
    """Compiles the rewritten core once and links every test program with it."""
    for source in sources:
        path = os.path.join(tmp, source.file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(source.rewritten())
    for name, text in ("gm.h", RUNTIME_H), ("gm.c", RUNTIME_C):
        with open(os.path.join(tmp, name), "w", encoding="utf-8") as f:
            f.write(text)
    objects = [os.path.join(tmp, "gm.o")]
    cc = args.cc.split()
    run(cc + ["-O1", "-DGM_COUNT=%d" % (count + 1), "-c", "gm.c", "-o", "gm.o"], "compile the switch", tmp)
    for source in sources:
        if source.file.endswith(".c"):
            o = source.file[:-2] + ".o"
            run(
                cc + args.cflags.split() + ["-O1", "-w", "-include", "gm.h", "-c", source.file, "-o", o],
                "compile the rewritten " + source.file,
                tmp,
            )
            objects.append(os.path.join(tmp, o))
    library = os.path.join(tmp, "libguard.a")
    run(["ar", "rcs", library] + objects[1:], "make the archive")
    support = [p for p in [os.path.join(args.build, "libtestsupport.a")] if os.path.exists(p)]
    programs = []
    for source in sorted(glob.glob("tests/model_*_test.c")):
        name = os.path.basename(source)[:-2]
        out = os.path.join(tmp, name)
        test = os.path.join(args.build, "tests", name + ".o")
        run(
            cc + ["-pthread", test, objects[0]] + support + [library] + ["-lcmocka", "-o", out],
            "link " + name,
        )
        programs.append(Program(out))
    if not programs:
        raise Bad("there is no tests/model_*_test.c")
    return programs


def baseline(programs, count, tmp):
    for p in programs:
        seen = os.path.join(tmp, p.name + ".seen")
        with open(seen, "wb") as f:
            f.truncate(count + 1)
        start = time.monotonic()
        if not p.execute(GUARD_MUTANT_SEEN=seen):
            raise Bad("%s fails without any mutant" % p.name)
        p.seconds = max(0.01, time.monotonic() - start)
        with open(seen, "rb") as f:
            p.sees = f.read()
    programs.sort(key=lambda p: p.seconds)


def judge(programs, number):
    """'killed', 'stopped' (endless) or 'survived'."""
    for p in programs:
        if p.sees[number]:
            passed = p.execute(GUARD_MUTANT=str(number))
            if passed is None:
                return "stopped"
            if not passed:
                return "killed"
    return "survived"


def main():
    parser = argparse.ArgumentParser(description="Mutation test of the guard core.")
    parser.add_argument("--build", default="build/release", help="where the test objects are")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cflags", default="-std=c11 -I. -ffreestanding -fno-stack-protector")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", metavar="FILE[:LINE]", action="append", help="just these mutants")
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--keep", metavar="DIR", help="build there, to run one: GUARD_MUTANT=ID DIR/TEST")
    args = parser.parse_args()

    files = sorted(glob.glob("model/*.[ch]"))
    sources, mutants, count = find(files)
    chosen = sorted(mutants)
    if args.only:
        wanted = {o if o.startswith("model/") else "model/" + o for o in args.only}
        chosen = [
            n
            for n in chosen
            if mutants[n][1].file in wanted or "%s:%d" % (mutants[n][1].file, mutants[n][1].line) in wanted
        ]
    if args.sample and args.sample < len(chosen):
        chosen = sorted(random.Random(args.seed).sample(chosen, args.sample))
    if args.list:
        for n in chosen:
            print("%5d %s:%d %s" % (n, mutants[n][1].file, mutants[n][1].line, mutants[n][0]))
        return 0
    if not chosen:
        raise Bad("there is nothing to mutate")
    arguments = argued()

    start = time.monotonic()
    tmp = args.keep or tempfile.mkdtemp(prefix="mutants.")
    os.makedirs(tmp, exist_ok=True)
    tmp = os.path.abspath(tmp)
    results = {}
    try:
        programs = build(args, sources, count, tmp)
        baseline(programs, count, tmp)
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            work = {pool.submit(judge, programs, n): n for n in chosen}
            for done in concurrent.futures.as_completed(work):
                results[work[done]] = done.result()
                if sys.stderr.isatty():
                    alive = sum(r == "survived" for r in results.values())
                    sys.stderr.write("\r%d of %d, %d survive " % (len(results), len(chosen), alive))
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
    finally:
        if not args.keep:
            shutil.rmtree(tmp, ignore_errors=True)

    keys = {mutants[n][0]: n for n in mutants}
    survived = [n for n in chosen if results[n] == "survived"]
    open_ones = [n for n in survived if mutants[n][0] not in arguments]
    wrong = []
    for key, line in arguments.items():
        if key not in keys:
            wrong.append("%s:%d: no such mutant any more: %s" % (ARGUED, line, key))
        elif results.get(keys[key], "survived") != "survived":
            wrong.append("%s:%d: the tests notice this one: %s" % (ARGUED, line, key))
    for n in open_ones:
        key, m = mutants[n]
        value = dict(m.forced())[n]
        reached = "" if any(p.sees[n] for p in programs) else "  (no test makes it differ)"
        print("survived: %s:%d:%s:%s in %s(), id %d%s" % (m.file, m.line, m.condition, value, m.function, n, reached))
        print("          %s" % key)
    for w in wrong:
        print(w)
    print(
        "%d mutants: %d noticed (%d of them endless), %d survive and are argued, %d survive; %.0f s"
        % (
            len(chosen),
            len(chosen) - len(survived),
            sum(r == "stopped" for r in results.values()),
            len(survived) - len(open_ones),
            len(open_ones),
            time.monotonic() - start,
        )
    )
    return 1 if open_ones or wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Bad as bad:
        print("mutants: %s" % bad, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
