#!/bin/sh
# fuzz.sh TIME [DIRECTORY...]: runs every fuzz target below the directories (default: all) for the time given, one after the other.
set -eu
time=$1
shift
[ $# -gt 0 ] || set -- .
grep -rl --include='*_test.go' '^func Fuzz' "$@" | sort | while read -r file; do
	pkg=./$(dirname "$file" | sed 's|^\./||')
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r name; do
		echo "$pkg $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg" </dev/null
	done
done
