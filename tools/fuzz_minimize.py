#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes a find of a fuzzer small: fuzz_minimize.py PROGRAM INPUT OUTPUT

PROGRAM is a target with libFuzzer or with fuzz/replay.c. What can be zero becomes zero, then what can
go goes, as long as the program fails in the same way (same place, same words). OUTPUT always holds
the smallest so far: Ctrl-C when it is small enough.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def failure(program, path):
    """What tells one failure from another; None: it does not fail."""
    env = dict(os.environ)
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        env[name] = "symbolize=0"  # which takes most of the time; places have their names without
    try:
        run = subprocess.run([program, path], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    if run.returncode == 0:
        return None
    text = run.stderr.decode(errors="replace")
    for pattern in (r"fuzz: does not hold: .*", r"[^\s:]+:\d+:\d+: runtime error: \w+ \w+",
                    r"SUMMARY: .*"):
        found = re.search(pattern, text)
        if found:
            return found.group(0)
    return f"exit status {run.returncode}"


def main():
    if len(sys.argv) != 4:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    program, path, out = sys.argv[1:]
    want = failure(program, path)
    if want is None:
        print(f"{path}: {program} does not fail", file=sys.stderr)
        return 1
    with open(path, "rb") as f:
        data = bytearray(f.read())
    shutil.copyfile(path, out)
    before = len(data)
    with tempfile.TemporaryDirectory() as folder:
        trial = os.path.join(folder, "input")

        def same(candidate):
            with open(trial, "wb") as f:
                f.write(candidate)
            return failure(program, trial) == want

        for zero in (True, False):
            size = len(data) // 2
            while size:
                at = 0
                while at < len(data):
                    old = data[at:at + size]
                    new = bytes(len(old)) if zero else b""
                    if (old != new) and same(data[:at] + new + data[at + size:]):
                        data[at:at + size] = new
                        with open(out, "wb") as f:
                            f.write(data)
                    if zero or data[at:at + size] == old:
                        at += size
                # last bytes one by one only in what is small
                size = size // 2 if size > 64 or len(data) <= 512 else 0
                if sys.stderr.isatty():
                    print(f"\r\033[K{len(data)} bytes, {sum(b != 0 for b in data)} of them not zero",
                          end="", file=sys.stderr)
    print(f"{want}: {before} bytes, now {len(data)}, {sum(b != 0 for b in data)} of them not zero")
    return 0


if __name__ == "__main__":
    sys.exit(main())
