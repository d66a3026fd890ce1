#!/usr/bin/env bash
# Run the tests on every Airflow and every Python that it runs on and this machine has, and those of a whole Airflow
# on the oldest, one in the middle and the newest; then show all results.
# usage: scripts/matrix.sh AIRFLOW...
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

WHOLE=(2.11 3.1 3.3)

log=$(mktemp) table="" failures=0
trap 'rm -f "$log"' EXIT

try() { # try TARGET AIRFLOW PYTHON
    local result
    if ! (find_python "$2" "$3") >/dev/null 2>&1; then
        result=" not run: this machine has no Python $3"
    else
        echo "==> make $1 on Airflow $2, Python $3"
        "${MAKE:-make}" --no-print-directory "$1" AIRFLOW="$2" PYTHON="$3" 2>&1 | tee "$log" || ((failures++))
        # pytest's closing line, or why there is none
        result=$(grep -E '(passed|failed|errors?|no tests ran).* in [0-9.]+s|^error: ' "$log" | tail -n 1 | tr -d =)
    fi
    table+=$(printf '%-5s %-8s %-7s%s' "$1" "$2" "$3" "${result:- failed before any test ran}")$'\n'
}

for airflow in "$@"; do
    for python in $(supported_pythons "$airflow"); do try test "$airflow" "$python"; done
done
for airflow in "${WHOLE[@]}"; do
    try e2e "$airflow" "$(supported_pythons "$airflow" | tr ' ' '\n' | head -n 1)"
done
printf '\n%-5s %-8s %-7s %s\n%s' Tests Airflow Python Result "$table"
exit $((failures > 0))
