#!/bin/sh
# Builds lb-server as it is shipped and measured: the dist profile, and a compiler that has seen it at
# work. Twice, with a minute of load in between: it learns which branches are taken, keeps what is hot
# together, and saves about a sixth of the instructions of a request.
#
#   ./pgo.sh            leaves ../../target/pgo/lb-server behind
#
# Needs llvm-profdata (rustup component add llvm-tools) and what proxybench.py needs.
set -eu
cd "$(dirname "$0")"

out=${CARGO_TARGET_DIR:-../../target}/pgo
. ../pgo-prelude.sh

# --target keeps the flags away from build scripts, which would write profiles of their own.
build() {
    cargo build --profile dist -p lb-server --target "$host" --target-dir "$out/$1"
}

RUSTFLAGS="-Cprofile-generate=$out/raw" build seeing
LB_BIN=$out/seeing/$host/dist/lb-server ./proxybench.py --contestants lb \
    --workload small,large,post,close,rate,tls,tls-large,h2 --rounds 1 --seconds 2 --out "$out/load"
"$profdata" merge -o "$out/lb.profdata" "$out"/raw/*.profraw
RUSTFLAGS="-Cprofile-use=$out/lb.profdata" build knowing
cp "$out/knowing/$host/dist/lb-server" "$out/lb-server"
echo "$out/lb-server"
