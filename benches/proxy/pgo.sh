#!/bin/sh
# Builds lb-server as it is shipped and measured: the dist profile, and a compiler that has seen it at
# work. Two builds, with half a minute of load in between: it learns which branches are taken, keeps what is
# hot together, and saves about a sixth of the instructions of a request.
#
# Where BOLT is installed (apt-get install bolt-22, or of another number) the result is looked at once more
# at work, and laid out anew: blocks in the order in which they run, and what hardly runs elsewhere. Half of
# the taken branches become none (Panchenko et al., "BOLT: a practical binary optimizer for data centers and
# beyond", CGO 2019). Its names remain for backtraces, its line numbers do not.
#
#   ./pgo.sh                        leaves ../../target/pgo/lb-server behind
#   LB_CPU=x86-64-v3 ./pgo.sh       the same for processors from 2013 on alone, with 3 % fewer instructions
#
# Needs llvm-profdata (rustup component add llvm-tools) and what proxybench.py needs.
set -eu
cd "$(dirname "$0")"

out=${CARGO_TARGET_DIR:-../../target}/pgo
. ../pgo-prelude.sh
bolt=$(ls /usr/bin/llvm-bolt /usr/bin/llvm-bolt-[0-9]* 2>/dev/null | sort -V | tail -n 1)

merge=$(echo "$bolt" | sed s/llvm-bolt/merge-fdata/)
if [ -n "$bolt" ] && [ ! -x "$merge" ]; then
    echo "$merge is missing beside $bolt: install the whole of BOLT, or take it away" >&2
    exit 1
fi

# --target keeps the flags away from build scripts, which would write profiles of their own.
build() {
    cargo build --profile dist -p lb-server --target "$host" --target-dir "$out/$1"
}

work() {
    LB_BIN=$1 ./proxybench.py --contestants lb \
        --workload small,large,post,close,rate,tls,tls-large,h2 --rounds 1 --seconds 2 --out "$out/load"
}

RUSTFLAGS="-Cprofile-generate=$out/raw $cpu" build seeing
work "$out/seeing/$host/dist/lb-server"
"$profdata" merge -o "$out/lb.profdata" "$out"/raw/*.profraw
RUSTFLAGS="-Cprofile-use=$out/lb.profdata $cpu ${bolt:+-Clink-arg=-Wl,--emit-relocs}" build knowing
known=$out/knowing/$host/dist/lb-server

if [ -n "$bolt" ]; then
    rm -rf "$out/walked"
    mkdir "$out/walked"
    "$bolt" "$known" -o "$out/walked/lb-server" --instrument \
        --instrumentation-file="$out/walked/by" --instrumentation-file-append-pid
    work "$out/walked/lb-server"
    # Each of the eight processes writes one when it ends, and its --check before it another.
    seen=$(find "$out/walked" -name 'by.*.fdata' -size +0 | wc -l)
    if [ "$seen" -lt 16 ]; then
        echo "BOLT has seen $seen processes of 16: one was ended before it had written what it saw" >&2
        exit 1
    fi
    "$merge" "$out"/walked/by.*.fdata > "$out/lb.fdata"
    "$bolt" "$known" -o "$out/lb-server" --data="$out/lb.fdata" --reorder-blocks=ext-tsp \
        --reorder-functions=cdsort --split-functions --split-all-cold --split-eh --icf=1 --use-gnu-stack
else
    echo "BOLT is not installed: code stays where the compiler put it (apt-get install bolt-22)" >&2
    cp "$known" "$out/lb-server"
fi
echo "$out/lb-server"
