#!/usr/bin/env bash
# Kills rotations, copies and cleanings with SIGKILL at random moments and looks
# at what is left: every checkpoint-N must be whole, the latest usable must be
# there, and one more run must finish the work.
#   bench/runs/soak.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-200}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/safeckpt" ./examples/safeckpt
tool=$work/safeckpt
for ((i = 1; i <= rounds; i++)); do
  rm -rf "$work/run" "$work/kept"
  cp -r testdata/checkpoints/trainer-full-all "$work/run"
  for n in 50 60 70 80 90; do
    cp -r "$work/run/checkpoint-40" "$work/run/checkpoint-$n"
    sed -i "s/\"global_step\": 40/\"global_step\": $n/" "$work/run/checkpoint-$n/trainer_state.json"
  done
  case $((i % 3)) in
    0) command=("$tool" runs rotate --limit 2 --apply "$work/run") ;;
    1) command=("$tool" runs clean --optimizer --apply "$work/run") ;;
    2) command=("$tool" runs keep --step 50 --to "$work/kept" "$work/run") ;;
  esac
  "${command[@]}" >/dev/null 2>&1 &
  pid=$!
  sleep "0.0$((RANDOM % 60 + 10))"
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  for dir in "$work"/run/checkpoint-* "$work"/kept/run-checkpoint-*; do
    [ -e "$dir" ] || continue
    "$tool" verify -q "$dir" >"$work/out" || { echo "round $i: $dir looks whole and is not"; cat "$work/out"; exit 1; }
  done
  "$tool" runs resume "$work/run" | grep -q 'resume_from_checkpoint.*checkpoint-90' || { echo "round $i: checkpoint-90 is lost"; exit 1; }
  "${command[@]}" >/dev/null || { echo "round $i: a second run does not finish: ${command[*]}"; exit 1; }
  if [ $((i % 3)) = 0 ] && [ "$(find "$work/run" -mindepth 1 -maxdepth 1 | wc -l)" != 2 ]; then echo "round $i: something is left"; exit 1; fi
done
echo "$rounds rounds, all safe"
