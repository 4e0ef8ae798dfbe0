# SPDX-License-Identifier: GPL-2.0-only
# Planted bugs killed against seconds; variables `data`, `out`, `lines` and `all` are given.
set terminal svg size 800,420 font "sans,12" background "white"
set output out
set datafile separator "\t"
set logscale x
set grid
set key bottom right
set xlabel "seconds"
set ylabel "mutants killed"
set yrange [0:all]
set xrange [0.09:*]
plot for [i=0:lines-1] data index i using 1:2 with steps lw 2 title columnheader(1)
