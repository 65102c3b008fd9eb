# shellcheck shell=bash
# What every benchmark needs: the release binary, the programs it is measured against, and a real broker. Source it from
# the root of the project.
tests/stack/install.sh >/dev/null
source tests/stack/stack.sh
trap stop_all EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
cargo build --release --quiet
medallion=$CARGO_TARGET_DIR/release/medallion
python=$python_folder/bin/python

# bench_program NAME: builds a program of benches/ and prints where it is.
bench_program() {
  cargo bench --no-run --bench "$1" --message-format json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("executable") and artifact["target"]["name"] == sys.argv[1]:
        print(artifact["executable"])' "$1"
}
