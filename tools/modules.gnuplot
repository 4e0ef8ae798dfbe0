# SPDX-License-Identifier: GPL-2.0-only
# Sizes and time over a module's code, medians of size classes; variables `data` and `out` are given.
set terminal svg size 1000,420 font "sans,12" background "white"
set output out
set datafile separator "\t"
set logscale xy
set format x "%.0s%c"
set format y "%.0s%c"
set grid
set multiplot layout 1,2
set key top left
set xlabel "bytes of code"
set ylabel "bytes"
plot data using 1:2 every ::1 with linespoints pt 7 ps 0.4 lc rgb "#1f77b4" title "manifest", \
     data using 1:3 every ::1 with linespoints pt 7 ps 0.4 lc rgb "#ff7f0e" title "added to the object"
set ylabel "CPU seconds"
set format y "10^{%L}"
plot data using 1:4 every ::1 with linespoints pt 7 ps 0.4 lc rgb "#1f77b4" title "wrap", \
     data using 1:5 every ::1 with linespoints pt 7 ps 0.4 lc rgb "#d62728" title "check"
unset multiplot
