#!/bin/sh
# Compare merge-zero with cp of the result and with DeepSpeed's zero_to_fp32.py, in
# turns, on the same machine state.
#
#   bench/merge/merge.sh OUTDIR ROUNDS CHECKPOINT...
#
# OUTDIR is where outputs go (and are removed between runs); its file system is what
# is measured. ZERO_TO_FP32 names a Python that has deepspeed; without it the peer
# is left out, with it it runs in every other round. Each line: what, checkpoint,
# wall and CPU seconds, peak resident kB. Ours syncs what it writes; the others are
# followed by a sync of the file.
set -eu
out=$(realpath "$1") rounds=$2
shift 2
tool=$out/safeckpt
(cd "$(dirname "$0")/../.." && go build -o "$tool" ./examples/safeckpt)
trap 'rm -rf "$tool" "$out/merged" "$out/source" "$out/copy" "$out/peer"' EXIT

measure() { # label, command...
	label=$1
	shift
	sync
	/usr/bin/time -o "$out/time" -f '%e %U %S %M' "$@" >/dev/null 2>"$out/log" || { cat "$out/log"; exit 1; }
	awk -v l="$label" '{ printf "%-28s wall %6.2f  cpu %6.2f  rss %8d kB\n", l, $1, $2 + $3, $4 }' "$out/time"
	rm -f "$out/time" "$out/log"
}

round=0
while [ $round -lt "$rounds" ]; do
	for dir; do
		name=$(basename "$dir")
		rm -rf "$out/merged" "$out/copy" "$out/source" "$out/peer"
		measure "ours f32 $name" "$tool" merge-zero "$dir" "$out/merged"
		mv "$out/merged/model.safetensors" "$out/source"
		measure "cp $name" sh -c "cp --reflink=never --sparse=never '$out/source' '$out/copy' && sync '$out/copy'"
		rm -rf "$out/merged" "$out/copy"
		measure "ours bf16 $name" "$tool" merge-zero --dtype bf16 "$dir" "$out/merged"
		rm -rf "$out/merged"
		measure "cp $name" sh -c "cp --reflink=never --sparse=never '$out/source' '$out/copy' && sync '$out/copy'"
		rm -rf "$out/copy" "$out/source"
		measure "ours f32 $name" "$tool" merge-zero "$dir" "$out/merged"
		rm -rf "$out/merged"
		if [ -n "${ZERO_TO_FP32:-}" ] && [ $((round % 2)) = 1 ]; then
			measure "zero_to_fp32 $name" sh -c "'$ZERO_TO_FP32' -m deepspeed.utils.zero_to_fp32 --safe_serialization --max_shard_size 100GB '$dir' '$out/peer' && sync '$out/peer/model.safetensors'"
			rm -rf "$out/peer"
		fi
	done
	round=$((round + 1))
done
