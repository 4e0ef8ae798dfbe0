#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The oracle is independent of the core: its objects were made from nothing of model/ but the list
# of names, and need no symbol that the core defines.

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

# Headers of model/, vmm/ and the like that dependency files name.
foreign() {
	tr -s '\134 ' '\n' <"$1" | grep -E '^(model|vmm|sim|wrap|scenario|hosted|cli|hv-port|lib)/' |
		grep -v '^model/names\.h:\?$'
}

n=0
bad=0
for c in oracle/*.c; do
	o=$BUILD/${c%.c}.o
	n=$((n + 1))
	if [ ! -f "$o" ] || [ ! -f "${o%.o}.d" ]; then
		echo "$o or its dependency file is missing"
		bad=1
	elif foreign "${o%.o}.d"; then
		echo "(included by $c)"
		bad=1
	fi
done
[ $n -ge 6 ]
ok $? "there are objects of the oracle to look at ($n)"
ok $bad "they include nothing of the project but model/names.h"

nm --defined-only -g "$BUILD/libguard.a" | awk 'NF == 3 { print $3 }' | sort -u >"$tmp/core"
nm -u "$BUILD"/oracle/*.o | awk '$1 == "U" { print $2 }' | sort -u >"$tmp/needs"
[ -s "$tmp/core" ] && [ -s "$tmp/needs" ]
ok $? "both have symbols"
comm -12 "$tmp/core" "$tmp/needs" >"$tmp/both"
cat "$tmp/both"
[ ! -s "$tmp/both" ]
ok $? "the oracle needs no symbol of the core"

# The check itself: an object that does include the core's interface is noticed.
printf '#include "model/guard.h"\nsize_t probe(void);\nsize_t probe(void) { return guard_size(); }\n' >"$tmp/probe.c"
gcc -I. -MMD -MP -MT probe.o -c "$tmp/probe.c" -o "$tmp/probe.o"
foreign "$tmp/probe.d" >/dev/null
ok $? "an include of the core's interface would be noticed"
nm -u "$tmp/probe.o" | awk '$1 == "U" { print $2 }' | sort | comm -12 "$tmp/core" - | grep -q guard_size
ok $? "a call of the core would be noticed"

finish
