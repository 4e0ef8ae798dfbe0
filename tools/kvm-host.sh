#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Prints what this machine's /dev/kvm is: svm, vmx, pvm (a back end that runs guests without
# hardware help), or kvm (some other). Exit 1 and one line with the reason where it cannot be used.
set -u

if [ ! -e /dev/kvm ]; then
	echo 'there is no /dev/kvm'
	exit 1
fi
if ! (: <>/dev/kvm) 2>/dev/null; then
	echo '/dev/kvm cannot be opened'
	exit 1
fi
for pair in kvm_amd:svm kvm_intel:vmx kvm_pvm:pvm; do
	if [ -d "/sys/module/${pair%:*}" ]; then
		echo "${pair#*:}"
		exit 0
	fi
done
# Built in, a vendor's module has a folder only if it has parameters.
case " $(grep -m 1 '^flags' /proc/cpuinfo) " in
*' svm '*) echo svm ;;
*' vmx '*) echo vmx ;;
*) echo kvm ;;
esac
