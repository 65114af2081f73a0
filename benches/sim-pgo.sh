#!/bin/sh
# Builds lb-sim as it is shipped, and the benchmark of its model engine with it: one unit, linked as a
# whole, by a compiler that has seen the scenarios run. What it learns from is not what the benchmark runs.
#
#   ./sim-pgo.sh        leaves ../target/sim-pgo/lb-sim and ../target/sim-pgo/model behind
#   ../target/sim-pgo/model --bench 'expected/least-request/1000'
#
# Needs llvm-profdata (rustup component add llvm-tools).
set -eu
cd "$(dirname "$0")/.."

out=${CARGO_TARGET_DIR:-target}/sim-pgo
. ./benches/pgo-prelude.sh

# --target keeps the flags away from build scripts, which would write profiles of their own.
RUSTFLAGS="-Cprofile-generate=$out/raw $cpu" \
    cargo build --profile dist -p lb-sim --target "$host" --target-dir "$out/seeing"
seeing=$out/seeing/$host/dist/lb-sim
"$seeing" sweep scenarios --engine model --seeds 1..2
"$seeing" sweep --swarm --seeds 1..200
"$seeing" check docs/examples/demo.toml > "$out/check.txt"
"$seeing" check docs/examples/careless.toml > "$out/check.txt"
"$profdata" merge -o "$out/lb-sim.profdata" "$out"/raw/*.profraw

export RUSTFLAGS="-Cprofile-use=$out/lb-sim.profdata $cpu"
cargo build --profile dist -p lb-sim --target "$host" --target-dir "$out/knowing"
cp "$out/knowing/$host/dist/lb-sim" "$out/lb-sim"
if ! cargo bench --profile dist --bench model --no-run --target "$host" --target-dir "$out/knowing" \
    --message-format short > "$out/bench.txt" 2>&1; then
    cat "$out/bench.txt" >&2
    exit 1
fi
cp "$(sed -n 's/.*Executable.*(\(.*\))$/\1/p' "$out/bench.txt")" "$out/model"
echo "$out/lb-sim"
