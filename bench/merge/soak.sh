#!/bin/sh
# Kill merges at random moments with kill -9: under the final name there is never a
# file that is wrong or cut.
#
#   bench/merge/soak.sh OUTDIR ROUNDS CHECKPOINT
set -eu
out=$(realpath "$1") rounds=$2 src=$3
tool=$out/safeckpt
(cd "$(dirname "$0")/../.." && go build -o "$tool" ./examples/safeckpt)
trap 'rm -rf "$tool" "$out/whole.safetensors" "$out/soak.safetensors" "$out"/.safeckpt-tmp-*' EXIT
rm -f "$out/whole.safetensors" "$out/soak.safetensors"
start=$(date +%s%N)
"$tool" merge-zero "$src" "$out/whole.safetensors" >/dev/null 2>&1
took=$((($(date +%s%N) - start) / 1000000)) # milliseconds
killed=0 whole=0 i=0
while [ $i -lt "$rounds" ]; do
	i=$((i + 1))
	delay=$(awk -v t="$took" -v seed="$i" 'BEGIN { srand(seed); printf "%.3f", rand() * t * 1.2 / 1000 }')
	"$tool" merge-zero --force "$src" "$out/soak.safetensors" >/dev/null 2>&1 &
	pid=$!
	sleep "$delay"
	kill -9 $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null || true
	if [ -e "$out/soak.safetensors" ]; then
		cmp "$out/whole.safetensors" "$out/soak.safetensors"
		whole=$((whole + 1))
		rm "$out/soak.safetensors"
	fi
	rm -f "$out"/.safeckpt-tmp-*
done
echo "$rounds merges, $killed killed, $whole whole results, none wrong"
