#!/bin/sh
# Builds all targets once and runs each for SECONDS, as many at once as there are processors. Usage: fuzz/run.sh SECONDS
#
# Where the nightly toolchain or cargo-fuzz is missing it says so by name and is content; with CI=true it installs them, or fails.
# A finding is left in artifacts/<target>/ and fails the run, once every target has run.
set -eu
cd "$(dirname "$0")"

seconds=${1:-}
case $seconds in
    '' | *[!0-9]* | 0*)
        echo "usage: fuzz/run.sh SECONDS" >&2
        exit 2
        ;;
esac

missing() {
    echo "skipped: no $1 (install it with: $2)"
    exit 0
}

if ! cargo +nightly --version > /dev/null 2>&1; then
    [ "${CI:-}" = true ] || missing "nightly toolchain" "rustup toolchain install nightly --profile minimal"
    rustup toolchain install nightly --profile minimal
fi
if ! cargo fuzz --version > /dev/null 2>&1; then
    [ "${CI:-}" = true ] || missing "cargo-fuzz" "cargo install cargo-fuzz --locked"
    cargo install cargo-fuzz --locked
fi

if command -v python3 > /dev/null; then
    python3 seeds.py
else
    echo "no python3: running without seeds"
fi
# A short run is mostly its build: in several parts that one is made by all processors, and what it builds runs a little slower.
parts=
[ "$seconds" -ge 60 ] || parts="--codegen-units 16"
cargo +nightly fuzz build $parts

targets="cookie_header sealed flask flask_session json_spans django django_session rails iron phoenix php symfony laravel"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzz() {
    dictionary=
    [ ! -f "dictionaries/$1.dict" ] || dictionary=-dict=dictionaries/$1.dict
    cargo +nightly fuzz run $parts "$1" -- -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
        $dictionary -print_final_stats=1 -verbosity=0 > "$logs/$1" 2>&1 || touch "$logs/$1.found"
}

at_once=$(getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1)
started=0
for target in $targets; do
    fuzz "$target" &
    started=$((started + 1))
    [ $((started % at_once)) -ne 0 ] || wait
done
wait
found=
for target in $targets; do
    echo "== $target: $seconds seconds"
    cat "$logs/$target"
    [ ! -f "$logs/$target.found" ] || found="$found $target"
done
if [ -n "$found" ]; then
    echo "found something:$found; the inputs are in fuzz/artifacts/" >&2
    exit 1
fi
echo "nothing found: $targets, $seconds seconds each"
