# What pgo.sh and sim-pgo.sh begin with, read by them (`. pgo-prelude.sh`): $out is the folder to build in,
# whole and with an empty place for what is seen; $host and $profdata are the machine's, and $cpu is what to tell the
# compiler of $LB_CPU (x86-64-v3, say: processors from 2013 on), if that is said.
#
# Needs llvm-profdata (rustup component add llvm-tools).
cpu=${LB_CPU:+-Ctarget-cpu=$LB_CPU}
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
    echo "llvm-profdata is missing: rustup component add llvm-tools" >&2
    exit 1
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -rf "$out/raw"
mkdir "$out/raw"
