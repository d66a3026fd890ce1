#!/usr/bin/env bash
# Run the tests on every Airflow and every Python that it runs on and this machine has; then show all results.
# usage: scripts/matrix.sh AIRFLOW...
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

log=$(mktemp) table="" failures=0
trap 'rm -f "$log"' EXIT

try() { # try AIRFLOW PYTHON
    local result
    if ! (find_python "$1" "$2") >/dev/null 2>&1; then
        result=" not run: this machine has no Python $2"
    else
        echo "==> Airflow $1 on Python $2"
        "${MAKE:-make}" --no-print-directory test AIRFLOW="$1" PYTHON="$2" 2>&1 | tee "$log" || ((failures++))
        # pytest's closing line, or why there is none
        result=$(grep -E '(passed|failed|errors?|no tests ran).* in [0-9.]+s|^error: ' "$log" | tail -n 1 | tr -d =)
    fi
    table+=$(printf '%-8s %-7s%s' "$1" "$2" "${result:- failed before any test ran}")$'\n'
}

for airflow in "$@"; do
    for python in $(supported_pythons "$airflow"); do try "$airflow" "$python"; done
done
printf '\n%-8s %-7s %s\n%s' Airflow Python Result "$table"
exit $((failures > 0))
