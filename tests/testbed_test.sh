#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The test bed (hv-port/testbed/boot): does a job's output come back unchanged and apart from
# kernel messages, its exit status as it was, and each way to fail as its own message and status?
# Is the guest a KVM host with npt=1 and npt=0, on one CPU and two? Do files, folders, disks and
# network cards arrive? Does anything stay behind?
#
# A boot takes about five seconds, so these run behind `make test-kvm`; a plain `make test` does
# only what needs no boot. Where QEMU or the kernel package is missing the rest is skipped, a
# failure if REQUIRE names svm.
set -u
cd "$(dirname "$0")/.." || exit 2
boot=hv-port/testbed/boot
tmp=$(mktemp -d "${TMPDIR:-/tmp}/testbedtest.XXXXXX")
mkdir "$tmp/tmp"
export TMPDIR=$tmp/tmp
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
	echo "ok: $1"
}
bad() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	tail -n 5 "$tmp/err" | sed 's/^/    /'
}
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@"; then ok "$what"; else bad "$what"; fi
}

# bed OPTION...: runs it; $status, $tmp/out, $tmp/err, $tmp/word
bed() {
	rm -f "$tmp/word"
	timeout -k 10 400 $boot --status "$tmp/word" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}
# says STATUS WORD ERROR-PATTERN: the last run ended so, with one line of error (or none)
says() {
	[ $status -eq "$1" ] && [ "$(cat "$tmp/word" 2>/dev/null)" = "$2" ] || return 1
	if [ -n "$3" ]; then
		[ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -qE "^testbed: .*$3" "$tmp/err"
	else
		[ ! -s "$tmp/err" ]
	fi
}
empty() { [ -z "$(ls -A "$1")" ]; }

# ---- Without a boot ----

check '--help prints its options' grep -q -e '--bring PATH' <($boot --help)
bed --nonsense 1 -- true
check 'an unknown option is named' says 120 use 'no option --nonsense'
bed
check 'no job' says 120 use 'no job'
bed --job "$tmp/none"
check 'a job that is not there' says 120 use "cannot read the job $tmp/none"
bed --cpus 9 -- true
check 'a number out of range' says 120 use "--cpus wants a number from 1 to 8, not '9'"
mkdir "$tmp/bin"
for t in bash env dirname mktemp rm cat; do
	ln -s "$(command -v $t)" "$tmp/bin/$t"
done
# The programs of an unprepared machine: no QEMU in the path.
sed 's,^PATH=.*,,' $boot >"$tmp/boot-bare"
ln -s "$PWD/hv-port/testbed/tree.sh" "$tmp/tree.sh"
PATH=$tmp/bin bash "$tmp/boot-bare" --status "$tmp/word" -- true >"$tmp/out" 2>"$tmp/err"
status=$?
check 'a missing QEMU is named, with its package' says 121 tool 'qemu-system-x86_64 is missing .*qemu-system-x86;'

# ---- With ----

why=
for t in qemu-system-x86_64 busybox cpio setpriv; do
	command -v $t >/dev/null || why="$t is missing (tools/deps.sh testbed)"
done
[ -n "$why" ] || [ -e "${GUARDHOUSE_DEBIAN:-build/debian}/VERSION" ] || why='no kernel package (make corpus-debian)'
if [ -z "$why" ] && [ -z "${TEST_KVM-}" ] && [[ ,${REQUIRE-}, != *,svm,* ]]; then
	why='boots take too long for here; make test-kvm has them'
fi
if [ -n "$why" ]; then
	if [[ ,${REQUIRE-}, == *,svm,* ]]; then
		echo "FAIL: REQUIRE=svm, but: $why"
		failed=$((failed + 1))
	else
		echo "SKIP: $why"
		skipped=$((skipped + 1))
	fi
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
fi

GUARDHOUSE_DEBIAN=$tmp/bin bed -- true
check 'a missing kernel package is named' says 122 package 'no kernel package in .*make corpus-debian'

cat >"$tmp/kvm.c" <<'END'
/* The smallest VM: real mode, `mov $42, %al; out %al, $0x10; hlt`. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int main(void)
{
	static const unsigned char code[] = { 0xb0, 42, 0xe6, 0x10, 0xf4 };
	int kvm = open("/dev/kvm", O_RDWR), vm = ioctl(kvm, KVM_CREATE_VM, 0);
	unsigned char *ram = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { 0, 0, 0x1000, 4096, (unsigned long)ram };
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu;

	memcpy(ram, code, sizeof(code));
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) || (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0)
		return 1;
	run = mmap(0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs) || ioctl(vcpu, KVM_RUN, 0))
		return 2;
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10)
		return 3;
	printf("out %d\n", ((unsigned char *)run)[run->io.data_offset]);
	if (ioctl(vcpu, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_HLT)
		return 4;
	return 0;
}
END
${CC:-gcc} -O1 -o "$tmp/kvm" "$tmp/kvm.c" || exit 2
mkdir -p "$tmp/folder/sub" "$tmp/back"
head -c 300000 /dev/urandom >"$tmp/folder/sub/blob"
echo 'with a name' >"$tmp/folder/a b"

# One boot for much: a program with its libraries, a folder, a binary output with a line of
# 200,000 bytes, errors apart, files back, kernel messages apart.
cat >"$tmp/job" <<'END'
./kvm || exit 90
cat /sys/module/kvm_amd/parameters/npt
echo '<1>printed by the kernel' >/dev/kmsg
cat folder/sub/blob
head -c 200000 /dev/zero | tr '\0' x
echo
echo 'on stderr' >&2
mkdir -p /out/deep && cp -r folder /out/deep/ && ln -s deep /out/link
exit 7
END
bed --job "$tmp/job" --take "$tmp/kvm" --take "$tmp/folder" --bring /out --to "$tmp/back" --console "$tmp/con"
{
	printf 'out 42\nY\n'
	cat "$tmp/folder/sub/blob"
	head -c 200000 /dev/zero | tr '\0' x
	echo
} >"$tmp/want"
check 'exit 7' [ $status -eq 7 ]
check 'its word in --status' [ "$(cat "$tmp/word")" = 'exit 7' ]
check 'KVM runs a VM with npt=1; the output is whole, binary and long lines too' cmp "$tmp/out" "$tmp/want"
check 'stderr apart' [ "$(cat "$tmp/err")" = 'on stderr' ]
check 'kernel messages apart, and kept' grep -q 'printed by the kernel' "$tmp/con"
check 'files came back' diff -r "$tmp/folder" "$tmp/back/out/deep/folder"
check 'a link came back' [ "$(readlink "$tmp/back/out/link")" = deep ]

bed --npt 0 --cpus 2 --take "$tmp/kvm:/usr/bin/tiny" -- 'tiny && cat /sys/module/kvm_amd/parameters/npt && nproc; false'
check 'KVM runs a VM with npt=0 on two CPUs' [ "$(tr '\n' ' ' <"$tmp/out")" = 'out 42 N 2 ' ]
check 'false' says 1 'exit 1' ''

# shellcheck disable=SC2016 # what the guest's shell expands
# A machine to try modules in: cards, disks from a folder, an IOMMU, no KVM.
bed --plain --mem 512 --disk "$tmp/folder" --disk "$tmp/back:/second" --nic e1000e --nic e1000:a --nic e1000:a \
	--iommu intel --load e1000e --load e1000 --with 8139cp --append 'mitigations=off' -- '
	set -e
	! [ -e /dev/kvm ]
	grep -q mitigations=off /proc/cmdline
	ls /sys/kernel/iommu_groups | grep -q .
	cmp /disk0/sub/blob /second/out/deep/folder/sub/blob
	modprobe 8139cp
	ip link set eth0 up
	ip addr add 10.0.2.15/24 dev eth0
	for i in 1 2 3 4 5 6 7 8 9; do ping -q -c 1 -W 1 10.0.2.2 >/dev/null && break; sleep 0.5; done
	ping -q -c 1 -W 2 10.0.2.2 | grep received
	ip addr add 10.1.0.1/24 dev eth1
	ip link set eth1 up
	ip link set eth2 up
	# Both ends of the wire are this machine: that it carries frames is seen by counting them.
	arping -q -c 3 -w 4 -I eth1 10.1.0.2 || true
	[ "$(cat /sys/class/net/eth2/statistics/rx_packets)" -gt 0 ] && echo wire'
check 'cards, wire, disks, IOMMU, modules' [ "$(tr '\n' ' ' <"$tmp/out")" = '1 packets transmitted, 1 packets received, 0% packet loss wire ' ]
check 'true' says 0 'exit 0' ''

bed --plain --timeout 2 -- 'echo before; sleep 1000'
check 'a job that does not end' says 124 timeout 'did not end within 2 s'
check 'its output until then' [ "$(cat "$tmp/out")" = before ]
bed --plain -- 'echo before; sleep 0.3; echo c >/proc/sysrq-trigger'
check 'a kernel panic' says 125 panic 'kernel panicked: Kernel panic - not syncing: sysrq'
check 'the output before it' [ "$(cat "$tmp/out")" = before ]
bed --plain -- 'reboot -f'
check 'a guest that ends without a status' says 126 lost 'without telling'
bed --plain --boot-timeout 1 -- true
check 'a guest that does not boot in time' says 123 boot 'did not boot within 1 s'
bed --plain --qemu -nonsense -- true
check 'a QEMU that refuses' says 123 boot 'did not boot: .*-nonsense'
bed --cpu EPYC,-svm -- true
check 'a CPU without SVM' says 123 boot 'cannot load module kvm-amd'
bed --load no-such -- true
check 'a module that is not there' says 120 use "no module 'no-such'"
bed --plain --bring /none --bring /etc --to "$tmp/back" -- 'mkdir /etc; echo x >/etc/y'
check 'a file that is not there to bring back' says 127 bring '/none'
check 'the others came back all the same' [ "$(cat "$tmp/back/etc/y" 2>/dev/null)" = x ]

# Interrupted: in the job, by each signal. QEMU is found by its place for files, ours alone.
no_qemu() { [ -z "$(pgrep -f "qemu-system.*$tmp/tmp")" ]; }
# in_job: starts one and waits until its job runs; $pid
in_job() {
	local i

	rm -f "$tmp/word"
	: >"$tmp/out"
	# (A shell starts background jobs with SIGINT ignored.)
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' $boot --plain --status "$tmp/word" -- 'echo up; sleep 1000' >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	for ((i = 0; i < 1200; i++)); do
		if grep -q up "$tmp/out"; then
			! no_qemu
			return
		fi
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	return 1
}
for sig in INT TERM; do
	check "SIG$sig will strike in a job" in_job
	kill -$sig "$pid"
	wait "$pid"
	status=$?
	check "SIG$sig" says $((128 + $(kill -l $sig))) interrupted ''
	check "SIG$sig leaves no QEMU" no_qemu
done
check 'no temporary file is left' empty "$tmp/tmp"
check 'SIGKILL will strike in a job' in_job
kill -KILL "$pid"
wait "$pid" 2>/dev/null
sleep 0.5
check 'SIGKILL leaves no QEMU' no_qemu

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
