#!/usr/bin/env bash
# Compares with the shell: usage with du -s on 100,000 files, list with find -ls
# on 1,000 checkpoints of 30 files. Warm; the best of five.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/safeckpt" ./examples/safeckpt
mkdir "$work/tree" "$work/run"
for i in $(seq 1000); do
  mkdir "$work/tree/$i"
  (cd "$work/tree/$i" && touch $(seq 100))
  cp -r testdata/checkpoints/trainer-full-all/checkpoint-10 "$work/run/checkpoint-$i"
  sed -i "s/\"global_step\": 10/\"global_step\": $i/" "$work/run/checkpoint-$i/trainer_state.json"
  (cd "$work/run/checkpoint-$i" && touch $(seq -f 'extra-%g' 22))
done
best() { # best COMMAND...: milliseconds
  local least=
  for _ in 1 2 3 4 5; do
    local t0 t1; t0=$(date +%s%N); "$@" >/dev/null; t1=$(date +%s%N)
    local ms=$(((t1 - t0) / 1000000))
    if [ -z "$least" ] || [ "$ms" -lt "$least" ]; then least=$ms; fi
  done
  echo "$least"
}
echo "du -s:      $(best du -s "$work/tree") ms"
echo "runs usage: $(best "$work/safeckpt" runs usage "$work/tree") ms"
echo "find -ls:   $(best find "$work/run" -ls) ms"
echo "runs list:  $(best "$work/safeckpt" runs list "$work/run") ms"
