#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What does each check of the core hold? `guardhouse` with checks removed, and results/attacks.md.

tests/without-checks.json lists the checks: a name, the verdict it gives, the file, the expression
(`text`, exactly once in the file, or in the piece `inside` that is itself there exactly once) and
what stands in its place when it is removed (`becomes`). Blanks in them match any white space. The
core holds no hooks: they are put into a copy, linked as build/without/guardhouse, whose
GUARDHOUSE_WITHOUT=NAME,... selects what is removed. `guardhouse attack --without` runs that.

Each check also says what happens then (`shown`): the scenario, the further checks that must go
(`also`; with any of them left in nothing may break), the proof, and where wanted a `why`. A proof is
never a verdict that differs: it is
  - the guarantee that the oracle, without its reference model, saw broken in what really ran;
  - `crash` or `endless` (G6); the copy is compiled so that undefined behaviour, an index beyond an
    array first of all, ends the process;
  - `G7 transparency` (with a `why`): the oracle is off, and the first expectation of the scenario
    that fails is one that an honest guest has: a value that comes back, or an `ok`.
`mode` is "views" where unwrapped modules alone have what the check is for.
Each place of the core where a refusal arises (a function and a verdict) needs a check in that function
that gives this verdict, or a line in tests/without-elsewhere.txt: which checks of functions that it
calls hold it, or why none is listed. A refusal that nobody listed ends this with an error.
`argued` is one sentence in place of a proof: why no state that can be reached shows the loss. A check
with neither is told as open. The run fails if a row is not as claimed, or if a row without claim
turns out to be shown; --learn writes down what was found instead.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

LIST = "tests/without-checks.json"
ELSEWHERE = "tests/without-elsewhere.txt"
VARIABLE = "GUARDHOUSE_WITHOUT"
CHUNK = 40  # scenarios in one process
G7 = "G7 transparency"
KEYS = {"check", "verdict", "file", "text", "becomes", "inside", "shown", "argued"}
CLAIM = {"scenario", "proof", "also", "why", "mode"}
# How a function begins, and a verdict; one that is only compared with arises elsewhere.
FUNCTION = re.compile(r"^(?:static |inline )*(?:const )?(?:struct |enum )?\w+ \*?(\w+)\(", re.M)
VERDICT = re.compile(r"(?<![=!]= )\bGUARD_V_(?!OK\b)(\w+)")
# Undefined behaviour ends the copy; no run-time library, as the core has none.
TRAPS = ["-fsanitize=undefined", "-fsanitize=bounds-strict", "-fsanitize-undefined-trap-on-error"]
# What an honest guest expects: that it works. `keep` and other words may follow.
HONEST = re.compile(r"\s*(expect\s+\S+\s+ok\b|expect-result\s+(ok|\d)|expect-ok\b|expect-read|honest\b|returns\b|callout\b|handler\b)")

HEADER = "extern const unsigned char gw_off[];\n"
RUNTIME = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned char gw_off[%d];
static const char *const names[] = { %s };

/* Which checks are removed: before main(), so that nothing runs with another core. */
__attribute__((constructor)) static void gw_start(void)
{
	const char *at = getenv("%s");

	while (at && *at) {
		size_t n = strcspn(at, ","), i = 0;

		while (i < sizeof(names) / sizeof(*names) &&
		       (strlen(names[i]) != n || memcmp(names[i], at, n) != 0))
			i++;
		if (i == sizeof(names) / sizeof(*names)) {
			fprintf(stderr, "guardhouse attack: --without %%.*s: no such check (--without list)\n",
				(int)n, at);
			exit(2);
		}
		gw_off[i] = 1;
		at += n + (at[n] == ',');
	}
}
"""


class Bad(Exception):
    pass


class Progress:
    """One line on a terminal, from the third second on."""

    def __init__(self, what):
        self.what, self.start, self.lock = what, time.monotonic(), threading.Lock()
        self.shown = False

    def tell(self, text):
        if not sys.stderr.isatty() or time.monotonic() - self.start < 2:
            return
        with self.lock:
            self.shown = True
            sys.stderr.write("\r\x1b[K%s: %s" % (self.what, text))
            sys.stderr.flush()

    def clear(self):
        with self.lock:
            if self.shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            self.shown = False


PROGRESS = Progress("without")


def pattern(text):
    return re.compile(r"\s+".join(re.escape(w) for w in text.split()))


def once(text, source, start, end, what):
    found = list(pattern(text).finditer(source, start, end))
    if len(found) != 1:
        raise Bad("%s: found %d times, not once: %s" % (what, len(found), text))
    return found[0].start(), found[0].end()


def place_of(c, file, source):
    """Where the expression of a check stands."""
    what = "%s: %s, check %s" % (LIST, file, c["check"])
    start, end = 0, len(source)
    if "inside" in c:
        start, end = once(c["inside"], source, start, end, what)
    return once(c["text"], source, start, end, what)


def function_at(source, at):
    before = [m.group(1) for m in FUNCTION.finditer(source, 0, at)]
    return before[-1] if before else "?"


def elsewhere():
    """(file, function, verdict) -> (line, checks or None)."""
    lines = {}
    with open(ELSEWHERE, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            if not line.strip() or line.startswith("#"):
                continue
            m = re.fullmatch(r"(\S+) (\w+) ([a-z-]+)(?:: ([a-z0-9-]+(?:, [a-z0-9-]+)*)| -- \S.*)", line.strip())
            if not m:
                raise Bad("%s:%d: not FILE FUNCTION VERDICT: CHECK, ... or -- REASON" % (ELSEWHERE, n))
            lines[m.group(1, 2, 3)] = (n, m.group(4).split(", ") if m.group(4) else None)
    return lines


def refusals(checks):
    """Every refusal of the core has a check, or a line that says where it is."""
    lines, names, missing = elsewhere(), {c["check"] for c in checks}, []
    for file in sorted(glob.glob("model/*.c")):
        if file.endswith("names.c"):
            continue
        with open(file, encoding="utf-8") as f:
            source = f.read()
        listed = {
            (function_at(source, place_of(c, file, source)[0]), c["verdict"]) for c in checks if c["file"] == file
        }
        for m in VERDICT.finditer(source):
            place = (function_at(source, m.start()), m.group(1).lower().replace("_", "-"))
            line = lines.pop((file,) + place, None)
            if line and place in listed:
                raise Bad("%s:%d: a check is listed there" % (ELSEWHERE, line[0]))
            if line and any(name not in names for name in line[1] or []):
                raise Bad("%s:%d: no such check" % (ELSEWHERE, line[0]))
            if line:
                listed.add(place)
            elif place not in listed:
                missing.append("%s %s %s (line %d)" % (file, *place, source.count("\n", 0, m.start()) + 1))
    if missing:
        raise Bad("refusals without a check in %s or a line in %s:\n  %s" % (LIST, ELSEWHERE, "\n  ".join(missing)))
    for key, line in lines.items():
        raise Bad("%s:%d: no such refusal: %s" % (ELSEWHERE, line[0], " ".join(key)))


def rewrite(checks, file, source):
    """The file with every check of it switched; several may replace the same expression."""
    places = {}
    for n, c in enumerate(checks):
        if c["file"] != file:
            continue
        places.setdefault(place_of(c, file, source), []).append((n, c["becomes"]))
    last = len(source)
    for (start, end), switches in sorted(places.items(), reverse=True):
        if end > last:
            raise Bad("%s: %s: two checks overlap: %s" % (LIST, file, source[start:end]))
        text = "(%s)" % source[start:end]
        for n, becomes in switches:
            text = "(gw_off[%d] ? (%s) : %s)" % (n, becomes, text)
        source = source[:start] + text + source[end:]
        last = start
    return source


def run(command, what):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise Bad("cannot %s:\n%s" % (what, done.stdout.decode(errors="replace")))


def build(args, checks):
    """build/without/guardhouse; the list of checks lies beside it."""
    out = args.out
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "model"))
    for file in sorted({c["file"] for c in checks}):
        if not os.path.isfile(file):
            raise Bad("%s: no file %s" % (LIST, file))
    names = ", ".join('"%s"' % c["check"] for c in checks)
    texts = {"gw.h": HEADER, "gw.c": RUNTIME % (len(checks), names, VARIABLE)}
    for file in sorted(glob.glob("model/*.[ch]")):
        with open(file, encoding="utf-8") as f:
            texts[file] = rewrite(checks, file, f.read())
    texts["checks"] = "".join("%-24s %-18s %s\n" % (c["check"], c["verdict"], c["file"]) for c in checks)
    for name, text in texts.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            f.write(text)
    cc = args.cc.split()
    objects = [os.path.join(out, "gw.o")]
    run(cc + ["-O1", "-c", os.path.join(out, "gw.c"), "-o", objects[0]], "compile the switch")
    for c in sorted(glob.glob("model/*.c")):
        PROGRESS.tell("compiles the copy of " + c)
        o = os.path.join(out, c[:-2] + ".o")
        flags = args.cflags.split() + TRAPS + ["-I" + out, "-O1", "-w", "-include", os.path.join(out, "gw.h")]
        run(cc + ["-I" + out] + flags + ["-c", os.path.join(out, c), "-o", o], "compile the copy of " + c)
        objects.append(o)
    for folder in args.dirs.split():
        objects += [os.path.join(args.build, c[:-2] + ".o") for c in sorted(glob.glob(folder + "/*.c"))]
    program = os.path.join(out, "guardhouse")
    run(cc + args.ldflags.split() + objects + args.ldlibs.split() + ["-o", program], "link guardhouse")
    os.symlink(os.path.abspath(os.path.join(args.build, "corpus")), os.path.join(out, "corpus"))


def attack(args, without, ids, honest=False, mode="gates"):
    """
    {id: proof} of these scenarios; a proof is '' where nothing broke. `honest`: judged by the
    scenarios' own expectations instead of by the oracle.
    """
    how = ["--mode", mode, "--no-oracle" if honest else "--oracle-alone"]
    command = [os.path.join(args.out, "guardhouse"), "attack", "--json", "--seeds", "1"] + how
    try:
        done = subprocess.run(
            command + ids,
            env=dict(os.environ, **{VARIABLE: ",".join(without)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=args.patience + len(ids) / 2,
            check=False,
        )
    except subprocess.TimeoutExpired:
        if len(ids) == 1:
            return {ids[0]: "endless"}
        done = None
    if done and done.returncode in (0, 1):
        rows = json.loads(done.stdout)["attacks"]
        return {row["id"]: harm(row) if honest else guarantee(row.get("oracle", "")) for row in rows}
    if done and done.returncode == 2:
        raise Bad("%s: %s" % (",".join(without), done.stderr.decode(errors="replace").strip()))
    if len(ids) == 1:
        return {ids[0]: "crash"}
    half = len(ids) // 2
    return {**attack(args, without, ids[:half], honest, mode), **attack(args, without, ids[half:], honest, mode)}


def guarantee(said):
    found = re.search(r"\bG[1-6] [A-Za-z0-9 ]+", said)
    return found.group(0).strip() if found else ""


def harm(row):
    """G7, if the first expectation that failed is an honest guest's."""
    if row["ok"]:
        return ""
    first_line = min((f["line"] for f in row["failures"] if f["line"]), default=0)
    if not first_line:
        return ""
    with open(row["path"], encoding="utf-8") as f:
        step = f.read().split("\n")[first_line - 1]
    return G7 if HONEST.match(step) else "a step that is not an honest guest's fails: " + step.strip()


def first(proofs):
    """The best proof: the oracle's word before a crash before an endless run."""
    shown = [(p in ("crash", "endless"), i) for i, p in proofs.items() if p]
    return min(shown)[1] if shown else None


def stale(args, c):
    """Why the row's claim does not hold; None: it does."""
    claim = c["shown"]
    honest, one, mode = claim["proof"] == G7, claim["scenario"], claim.get("mode", "gates")
    without = [c["check"]] + claim.get("also", [])
    got = attack(args, without, [one], honest, mode).get(one, "no such scenario")
    if got != claim["proof"]:
        return "without %s, %s shows %s, not %s" % (", ".join(without), one, got or "nothing", claim["proof"])
    if honest and attack(args, [], [one], True, mode).get(one):
        return "%s fails with all checks in place, too" % one
    for left in without if len(without) > 1 else []:
        rest = [w for w in without if w != left]
        got = attack(args, rest, [one], honest, mode).get(one)
        if got:
            return "%s shows %s without %s already: %s does not hold it" % (one, got, ", ".join(rest), left)
    return None


def search(args, c, ids):
    """The first scenario in which the oracle sees the loss of this check alone; None: none."""
    proofs, best = {}, None
    for at in range(0, len(ids), CHUNK):
        proofs.update(attack(args, [c["check"]], ids[at : at + CHUNK]))
        best = first(proofs)
        if best and proofs[best] not in ("crash", "endless"):
            break
    return best and {"scenario": best, "proof": proofs[best]}


def judge(args, c, ids):
    """Is the row as claimed? (row with what was seen, complaint or None)"""
    complaint = None
    if "shown" in c:
        complaint = stale(args, c)
        if not complaint:
            return c, None
        complaint = "%s: stale claim: %s" % (c["check"], complaint)
        if not args.learn:
            return c, complaint
    elif args.claims:
        return c, None
    found = search(args, c, ids)
    if not found:
        return c, complaint
    row = {k: v for k, v in c.items() if k != "argued"}
    said = "stale, now" if complaint else "argued to be unreachable, but" if "argued" in c else "not claimed, but"
    return dict(row, shown=found), "%s: %s %s shows %s" % (c["check"], said, found["scenario"], found["proof"])


def load(path):
    with open(path, encoding="utf-8") as f:
        checks = json.load(f)
    names = [c["check"] for c in checks]
    for c in checks:
        what = "%s: check %s" % (path, c["check"])
        claim = c.get("shown", {})
        if names.count(c["check"]) != 1:
            raise Bad("%s: is there twice" % what)
        if set(c) - KEYS or set(claim) - CLAIM:
            raise Bad("%s: unknown: %s" % (what, ", ".join(sorted((set(c) - KEYS) | (set(claim) - CLAIM)))))
        if "argued" in c and claim:
            raise Bad("%s: both shown and argued" % what)
        if claim.get("proof") == G7 and not claim.get("why"):
            raise Bad("%s: %s needs a why" % (what, G7))
        for other in claim.get("also", []):
            if other not in names:
                raise Bad("%s: also: no check %s" % (what, other))
    return checks


def learn(path, row):
    """Into the list as it now is: others may have edited it meanwhile."""
    checks = [row if c["check"] == row["check"] else c for c in load(path)]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(checks, f, indent=1)
        f.write("\n")


def cell(text):
    return text.replace("|", "\\|")


def report(args, checks, ids):
    """results/attacks.md: the matrix, then the checks."""
    done = subprocess.run(
        [os.path.join(args.build, "guardhouse"), "attack", "--markdown"], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise Bad("guardhouse attack --markdown: exit code %d" % done.returncode)
    shown = [c for c in checks if "shown" in c]
    argued = [c for c in checks if "argued" in c]
    open_ = [c for c in checks if "shown" not in c and "argued" not in c]
    lines = [
        "# Attacks, and what each check holds",
        "",
        "Written by `make attacks`. First every scenario against the guard as it is, the oracle on.",
        "",
        done.stdout.decode().rstrip(),
        "",
        "## With a check removed",
        "",
        "Each check of the core is removed from a copy (`tests/without-checks.json`,",
        "`guardhouse attack --without CHECK`): the conditions that are listed there, not every branch of the",
        "core. Shown is a guarantee that the oracle, without its reference model, saw broken: its word on the",
        "crossing that should have been refused, mostly, at which the run ends; `crash` (undefined behaviour",
        "traps) and `endless` break G6. A check that serves G7 alone is shown by a guest's honest step that then",
        "fails. Where another check still holds the guarantee it is named, and both were removed; with",
        "either in place nothing breaks.",
        "",
        "%d checks: %d shown, %d argued, %d open." % (len(checks), len(shown), len(argued), len(open_)),
        "",
        "| check | verdict | in | scenario | breaks | other check that holds | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in shown:
        s = c["shown"]
        proof = "G6 VMM safety: " + s["proof"] if s["proof"] in ("crash", "endless") else s["proof"]
        where = s["scenario"] + (" (mode views)" if s.get("mode") == "views" else "")
        row = (c["check"], c["verdict"], c["file"], where, proof, ", ".join(s.get("also", [])))
        row += (s.get("why", ""),)
        lines.append("| %s | %s | `%s` | %s | %s | %s | %s |" % tuple(cell(x) for x in row))
    if argued:
        lines += [
            "",
            "### Argued",
            "",
            "No state that a CPU or a guest can reach shows the loss of these, or a report alone is lost.",
            "Nothing proves that here; they are not counted as shown.",
            "",
            "| check | verdict | in | why no state shows it |",
            "|---|---|---|---|",
        ]
    for c in argued:
        lines.append("| %s | %s | `%s` | %s |" % tuple(cell(c[k]) for k in ("check", "verdict", "file", "argued")))
    if open_:
        lines += [
            "",
            "### Open",
            "",
            "With these removed alone, none of the %d scenarios lets the oracle see a guarantee broken. That" % len(ids),
            "is no proof that they are not needed: the scenario that shows it, or the other check that holds,",
            "is still to be found. The unit tests notice the loss of each of them (`make mutants`).",
            "",
            "| check | verdict | in | expression |",
            "|---|---|---|---|",
        ]
        for c in open_:
            lines.append("| %s | %s | `%s` | `%s` |" % tuple(cell(c[k]) for k in ("check", "verdict", "file", "text")))
    with open(args.report, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="What does each check of the core hold?")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--out", default="build/without")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cflags", help="of the core; builds the test build first")
    parser.add_argument("--ldflags", default="")
    parser.add_argument("--ldlibs", default="")
    parser.add_argument("--dirs", default="", help="folders whose objects make up the program")
    parser.add_argument("--list", default=LIST, metavar="FILE", help="the checks and their claims")
    parser.add_argument("--only-build", action="store_true")
    parser.add_argument("--claims", action="store_true", help="look at the rows with a claim alone")
    parser.add_argument("--learn", action="store_true", help="write what is newly shown into the list")
    parser.add_argument("--report", metavar="FILE", help="write the tables there")
    parser.add_argument("--patience", type=float, default=10, help="seconds until a scenario counts as endless")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("check", nargs="*", help="these alone (default: all)")
    args = parser.parse_args()

    checks = load(args.list)
    refusals(checks)
    names = [c["check"] for c in checks]
    for name in args.check:
        if name not in names:
            raise Bad("no check %s in %s" % (name, args.list))
    if args.cflags:
        build(args, checks)
    if args.only_build:
        return 0
    listed = subprocess.run(
        [os.path.join(args.out, "guardhouse"), "attack", "--list", "--json"], stdout=subprocess.PIPE, check=True
    )
    ids = [row["id"] for row in json.loads(listed.stdout)]
    PROGRESS.tell("%d scenarios with all checks" % len(ids))
    broken = first(attack(args, [], ids))
    if broken:
        raise Bad("with no check removed, %s already breaks a guarantee" % broken)
    rows, complaints = {}, 0
    chosen = [c for c in checks if not args.check or c["check"] in args.check]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = {pool.submit(judge, args, c, ids): c for c in chosen}
        for done in concurrent.futures.as_completed(waiting):
            c, complaint = done.result()
            old = waiting[done]
            rows[c["check"]] = c
            PROGRESS.tell("%d of %d checks, last %s" % (len(rows), len(chosen), c["check"]))
            learnt = args.learn and c != old
            if learnt:
                learn(args.list, c)
            elif complaint:
                complaints += 1
            if complaint:
                PROGRESS.clear()
                print("without: %s%s" % (complaint, " (written down)" if learnt else ""), file=sys.stderr)
    PROGRESS.clear()
    shown = sum("shown" in c for c in rows.values())
    argued = sum("argued" in c for c in rows.values())
    print(
        "%d checks: %d shown, %d argued, %d open, %d not as claimed"
        % (len(rows), shown, argued, len(rows) - shown - argued, complaints)
    )
    if args.report and not complaints:
        if args.check:
            raise Bad("--report needs all checks, not some")
        PROGRESS.tell("the matrix of all scenarios")
        report(args, load(args.list), ids)
        PROGRESS.clear()
    return 1 if complaints else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Bad as e:
        print("without: %s" % e, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
