#!/usr/bin/env bash
# Run the tests on every Airflow with the newest Python that it supports; on the newest Airflow also with the oldest one,
# and with the oldest dependencies only with that, as far as this machine has them; two at a time or as many as JOBS says.
# Meanwhile run tests/e2e on the oldest Airflow and the newest, and of two in between the ways in which tasks end, as
# these are what differs between versions. Show all results.
# usage: scripts/matrix.sh AIRFLOW...
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

BETWEEN=(3.1 3.3)
WHOLE=(2.11 "${BETWEEN[@]}" "$(sed -n 's/^NEWEST := //p' Makefile)")
ENDINGS="-k 'test_endings or test_batch or test_callbacks or test_routes or test_connection_form or test_link or test_visible'"
# The one with the oldest versions of all that the package depends on.
OLDEST=2.11.0

MAKE=${MAKE:-make}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export MAKE logs

run() { # run TARGET AIRFLOW PYTHON [PARTS [ARGS]]
    local log="$logs/$1-$2-$3"
    "$MAKE" --no-print-directory "$1" AIRFLOW="$2" PYTHON="$3" PARTS="${4:-all}" ARGS="${5:-}" WORKERS=2 \
        >"$log" 2>&1 || touch "$log.failed"
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

# What does not depend on Airflow runs once on each Python: with the oldest dependencies, or else the newest ones.
parts() { # parts AIRFLOW PYTHON
    local cell once=""
    for cell in "${here[@]}"; do
        if [[ $cell == "test "*" $2" && $once != "test $OLDEST $2" ]]; then once=$cell; fi
    done
    if [[ $once == "test $1 $2" ]]; then echo all; else echo airflow; fi
}

make_environment() { # make_environment TARGET AIRFLOW PYTHON
    "$MAKE" --no-print-directory environment AIRFLOW="$2" PYTHON="$3" >&2 && return
    echo "error: no environment, see the output of make environment above" >"$logs/$1-$2-$3"
    touch "$logs/$1-$2-$3.failed"
    return 1
}

airflows=("$@") cells=() here=() whole=()
for airflow in "${airflows[@]}"; do
    read -ra pythons <<<"$(supported_pythons "$airflow")"  # the newest one comes first
    if [[ $airflow != "$OLDEST" ]]; then cells+=("test $airflow ${pythons[0]}"); fi
    if [[ $airflow == "$OLDEST" || $airflow == "${airflows[-1]}" ]]; then cells+=("test $airflow ${pythons[-1]}"); fi
done
for airflow in "${WHOLE[@]}"; do
    whole+=("e2e $airflow $(supported_pythons "$airflow" | cut -d ' ' -f 1)")
done
# shellcheck disable=SC2086  # here and below: a cell is three words
for cell in "${cells[@]}"; do
    if is_here $cell; then here+=("$cell"); fi
done

# The first environment brings the installer, which the others share.
# shellcheck disable=SC2086
if ((${#here[@]})); then make_environment ${here[0]} || true; fi

# shellcheck disable=SC2086
for cell in "${whole[@]}"; do
    args=""
    set -- $cell
    if [[ " ${BETWEEN[*]} " == *" $2 "* ]]; then args=$ENDINGS; fi
    if is_here $cell; then run $cell all "$args"; fi
done &

# The further environments are made while tests run on those that are ready.
# shellcheck disable=SC2086
for cell in ${here[@]+"${here[@]}"}; do
    set -- $cell
    if make_environment $cell; then echo "$cell $(parts "$2" "$3")"; fi
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'run "$@"' _
wait

printf '\n%-5s %-8s %-7s %s\n' Tests Airflow Python Result
# shellcheck disable=SC2086
for cell in "${cells[@]}" "${whole[@]}"; do printf '%-5s %-8s %-7s %s\n' $cell "$(result $cell)"; done
[[ -z $(find "$logs" -name '*.failed') ]]
