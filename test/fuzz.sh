#!/bin/sh
# fuzz.sh AMOUNT [DIRECTORY...]: runs every fuzz target below the directories (default: all), one after the other, for the amount
# given: a time (60s) or a number of inputs (2000x).
set -eu
amount=$1
shift
[ $# -gt 0 ] || set -- .
out=$(mktemp)
trap 'rm -f "$out"' EXIT

grep -rl --include='*_test.go' '^func Fuzz' "$@" | sort | while read -r file; do
	pkg=./$(dirname "$file" | sed 's|^\./||')
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r name; do
		if go test -run '^$' -fuzz "^$name\$" -fuzztime "$amount" "$pkg" >"$out" 2>&1 </dev/null; then
			echo "ok $pkg $name: $(grep -o 'execs: [0-9]*' "$out" | tail -n 1)"
		# Go sometimes calls the end of the time itself a failure; a real one names its input.
		elif grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out"; then
			echo "ok $pkg $name: time is up"
		else
			cat "$out"
			echo "FAIL $pkg $name"
			exit 1
		fi
	done
done
