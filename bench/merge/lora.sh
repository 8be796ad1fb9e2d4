#!/bin/sh
# Compare merge-lora with cp of the base and with PEFT, in turns, on the same machine
# state; each is followed by sync, which counts.
#
#   bench/merge/lora.sh DIR ROUNDS
#
# DIR holds base and adapter as lora.py makes them; its file system is what is
# measured. PEFT_PYTHON names a Python that has peft; without it PEFT is left out.
# Each line: what, wall and CPU seconds. The last: the most anonymous resident memory
# of ours.
set -eu
dir=$1 rounds=$2
here=$(cd "$(dirname "$0")" && pwd)
tool=$dir/safeckpt
(cd "$here/../.." && go build -o "$tool" ./examples/safeckpt)
trap 'rm -rf "$tool" "$dir/out" "$dir/copy" "$dir/peft" "$dir/watch.sh"' EXIT

measure() { # label, shell command
	sync
	/usr/bin/time -o "$dir/time" -f '%e %U %S' sh -c "$2 && sync" >/dev/null 2>"$dir/log" || { cat "$dir/log"; exit 1; }
	awk -v l="$1" '{ printf "%-10s wall %6.2f  cpu %6.2f\n", l, $1, $2 + $3 }' "$dir/time"
	rm -f "$dir/time" "$dir/log"
}

# watch PID prints the most anonymous memory that a process has had, every 10 ms.
cat >"$dir/watch.sh" <<'W'
top=0
while v=$(awk '/RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null) && [ -n "$v" ]; do
	[ "$v" -gt "$top" ] && top=$v
	sleep 0.01
done
echo "anonymous $((top / 1024)) MiB"
W

round=0
while [ $round -lt "$rounds" ]; do
	rm -rf "$dir/out" "$dir/copy" "$dir/peft"
	measure ours "'$tool' merge-lora --base '$dir/base' --adapter '$dir/adapter' '$dir/out'"
	[ $round -gt 0 ] || python3 "$here/lora.py" digest "$dir/out"
	rm -rf "$dir/out"
	measure cp "cp -r --reflink=never '$dir/base' '$dir/copy'"
	rm -rf "$dir/copy"
	if [ -n "${PEFT_PYTHON:-}" ]; then
		measure peft "'$PEFT_PYTHON' '$here/lora.py' peft '$dir' '$dir/peft'"
		[ $round -gt 0 ] || python3 "$here/lora.py" digest "$dir/peft"
		rm -rf "$dir/peft"
	fi
	round=$((round + 1))
done
# Once more, for its memory: watching takes processor time of its own.
"$tool" merge-lora --base "$dir/base" --adapter "$dir/adapter" "$dir/out" >/dev/null &
sh "$dir/watch.sh" $!
wait $!
