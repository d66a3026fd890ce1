#!/usr/bin/env bash
# Run the tests on every Airflow, with every Python that it supports and this machine has, two at a time or as many as
# JOBS says. Meanwhile run tests/e2e, which mostly wait, on the oldest Airflow, one in the middle and the newest. Show
# all results.
# usage: scripts/matrix.sh AIRFLOW...
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

WHOLE=(2.11 3.1 "$(sed -n 's/^NEWEST := //p' Makefile)")

MAKE=${MAKE:-make}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export MAKE logs

run() { # run TARGET AIRFLOW PYTHON
    local log="$logs/$1-$2-$3"
    # No coverage: runs at the same time would write into one file.
    "$MAKE" --no-print-directory "$1" AIRFLOW="$2" PYTHON="$3" COVERAGE= WORKERS=2 >"$log" 2>&1 || touch "$log.failed"
    printf '==> make %s on Airflow %s, Python %s\n%s\n' "$1" "$2" "$3" "$(<"$log")"
}
export -f run

# Print pytest's last line, or why there is none.
result() { # result TARGET AIRFLOW PYTHON
    local log="$logs/$1-$2-$3"
    if [[ ! -e $log ]]; then echo "not run: this machine has no Python $3"; return; fi
    grep -E '(passed|failed|errors?|no tests ran).* in [0-9.]+s|^error: ' "$log" | tail -n 1 | tr -d = | sed 's/^ *//' |
        grep . || echo "failed before any test ran"
}

is_here() { (find_python "$2" "$3") >/dev/null 2>&1; } # is_here TARGET AIRFLOW PYTHON

cells=() here=() whole=()
for airflow in "$@"; do
    for python in $(supported_pythons "$airflow"); do cells+=("test $airflow $python"); done
done
for airflow in "${WHOLE[@]}"; do
    whole+=("e2e $airflow $(supported_pythons "$airflow" | cut -d ' ' -f 1)")
done

# Here and below a cell is three words. The environments are made one by one, because they share the installer.
# shellcheck disable=SC2086
for cell in "${cells[@]}"; do
    is_here $cell || continue
    set -- $cell
    if "$MAKE" --no-print-directory environment AIRFLOW="$2" PYTHON="$3"; then
        here+=("$cell")
    else # the other cells still run
        echo "error: no environment, see the output of make environment above" >"$logs/$1-$2-$3"
        touch "$logs/$1-$2-$3.failed"
    fi
done

# shellcheck disable=SC2086
for cell in "${whole[@]}"; do
    if is_here $cell; then run $cell; fi
done &
if ((${#here[@]})); then
    printf '%s\n' "${here[@]}" | xargs -P "${JOBS:-2}" -L 1 bash -c 'run "$@"' _
fi
wait

printf '\n%-5s %-8s %-7s %s\n' Tests Airflow Python Result
# shellcheck disable=SC2086
for cell in "${cells[@]}" "${whole[@]}"; do printf '%-5s %-8s %-7s %s\n' $cell "$(result $cell)"; done
[[ -z $(find "$logs" -name '*.failed') ]]
