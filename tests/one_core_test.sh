#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# There is one guard core. Every engine runs the objects made from model/*.c, and no folder has a
# copy of its own: neither in the binary (symbols, and where they were compiled from), nor in the
# sources (long runs of the same tokens, names aside). A fork made here must be noticed.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/core.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		head -n 20 "$tmp/out" | sed 's/^/    /'
	fi
}

empty() {
	[ ! -s "$tmp/out" ]
}

archive=$BUILD/libguard.a

# ---- the archive: model/*.c, each once, and nothing else ----
ar t "$archive" | sort >"$tmp/members"
for f in model/*.c; do
	basename "$f" .c
done | sed 's/$/.o/' | sort >"$tmp/files"
diff "$tmp/members" "$tmp/files" >"$tmp/out"
check 'libguard.a holds one object for each file of model/' empty

# ---- the binary: one definition of each, compiled from model/ ----
nm --defined-only --extern-only "$archive" | awk 'NF == 3 { print $3 }' | grep -vE '^_*(asan|ubsan|sanitizer)|^_' |
	sort -u >"$tmp/symbols"
check 'the core defines its interface' grep -qx guard_judge "$tmp/symbols"
nm --defined-only --extern-only "$GUARDHOUSE" | awk 'NF == 3 { print $3, $1 }' | sort >"$tmp/defined"
awk 'NR == FNR { core[$1]; next } $1 in core { n[$1]++ }
	END { for (s in core) if (n[s] != 1) print s, n[s] + 0 }' "$tmp/symbols" "$tmp/defined" >"$tmp/out"
check 'the binary holds each symbol of the core exactly once' empty
awk 'NR == FNR { core[$1]; next } $1 in core { print $2 }' "$tmp/symbols" "$tmp/defined" |
	addr2line -e "$GUARDHOUSE" | sort | uniq -c | grep -vE '/model/[^/]*:[0-9]+' >"$tmp/out"
check 'each comes from a file of model/' empty

# ---- who asks it: one caller, so no engine has a way around ----
find "$BUILD" -name '*.o' -path "$BUILD/[a-z]*" | while read -r o; do
	case ${o#"$BUILD"/} in
	kernel/* | corpus/* | tests/* | bench/* | fuzz/* | model/*) ;; # none of them in the binary
	*) nm -u "$o" | grep -qw guard_judge && echo "${o#"$BUILD"/}" ;;
	esac
done >"$tmp/callers"
grep -v '^vmm/' "$tmp/callers" >"$tmp/out"
check 'only vmm/ puts events to the core' empty
check 'and it does' grep -qx vmm/judge.o "$tmp/callers"
nm -u "$BUILD"/sim/*.o "$BUILD"/hv-port/*.o 2>/dev/null | awk '{ print $2 }' | sort -u >"$tmp/wanted"
grep -qx vm_judge "$tmp/wanted"
check 'the engines go through it' [ $? -eq 0 ]
for engine in sim hv-port; do
	nm --defined-only "$BUILD/$engine"/*.o 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u |
		grep -xFf "$tmp/symbols" >"$tmp/out"
	check "$engine/ defines nothing that the core does" empty
done

# ---- the sources ----
cat >"$tmp/forks.py" <<'EOP'
"""forks.py CORE-FILES -- FILES: where FILES repeat long runs of CORE-FILES' tokens, names aside."""
import re, sys
RUN = 90  # tokens: some nine lines that do the same in the same order
token = re.compile(r'//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*(?:\\\n[^\n]*)*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
                   r'|[A-Za-z_]\w*|\d\w*|->|\+\+|--|<<=|>>=|<<|>>|[<>=!+\-*/%&|^]=|&&|\|\||\S', re.S | re.M)
keep = set('if else for while do switch case default return break continue goto sizeof struct enum static '
           'const bool void uint8_t uint16_t uint32_t uint64_t unsigned int true false NULL'.split())
def tokens(path):
    out = []
    for m in token.finditer(open(path, errors='replace').read()):
        t = m[0]
        if t[:2] in ('//', '/*') or t.lstrip()[:1] == '#':
            continue
        if t[0] == '"':
            t = 'S'
        elif t[0].isdigit():
            t = 'N'
        elif re.match(r'[A-Za-z_]', t) and t not in keep:
            t = 'I'
        out.append((t, m.start()))
    return out
def runs(path):
    t = tokens(path)
    names = [x for x, _ in t]
    for i in range(len(t) - RUN):
        piece = names[i:i + RUN]
        # Tables and rows of assignments are alike everywhere; what decides is code.
        if sum(x in ('if', 'return', 'for', 'while', '&&', '||', '?') for x in piece) >= 4:
            yield hash(tuple(piece)), t[i][1]
split = sys.argv.index('--')
core = {}
for path in sys.argv[1:split]:
    for h, at in runs(path):
        core.setdefault(h, path)
if len(core) < 5000:
    sys.exit('the core has only %d runs: nothing would be found' % len(core))
for path in sys.argv[split + 1:]:
    for h, at in runs(path):
        if h in core:
            line = open(path, errors='replace').read().count('\n', 0, at) + 1
            print('%s:%d repeats a part of %s' % (path, line, core[h]))
            break
EOP
find . -path ./build -prune -o -path ./model -prune -o -name '*.[ch]' -print | sort >"$tmp/others"
check 'there are sources to look at' [ "$(wc -l <"$tmp/others")" -gt 100 ]
xargs python3 "$tmp/forks.py" model/*.c -- <"$tmp/others" >"$tmp/out" 2>&1
check 'no file outside model/ repeats the core' empty

# What a fork would look like: a file with other names, without comments, one function of it.
for f in model/cross.c model/check.c model/chain.c model/depart.c; do
	sed -E 's/\b(guard|chain|cross|check|range)_/hv_\1_/g; s/\bch\b/rec/g; s/0x[0-9a-f]+/0/g' "$f" |
		gcc -fpreprocessed -dD -E -P - 2>/dev/null >"$tmp/fork.c"
	check "a fork of $f can be made" [ "$(wc -l <"$tmp/fork.c")" -gt 50 ]
	python3 "$tmp/forks.py" model/*.c -- "$tmp/fork.c" >"$tmp/found" 2>&1
	check "and is noticed, though every name is another" grep -q "fork.c:.* repeats a part of $f" "$tmp/found"
	n=$(($(wc -l <"$tmp/fork.c") / 2))
	sed -n "$n,$((n + 60))p" "$tmp/fork.c" >"$tmp/part.c"
	python3 "$tmp/forks.py" model/*.c -- "$tmp/part.c" >"$tmp/found" 2>&1
	check "so are sixty lines of it" grep -q 'part.c:.* repeats a part of model/' "$tmp/found"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
