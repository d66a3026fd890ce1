#!/usr/bin/env bash
# Make a release: build and check it, install each file on three Airflows and run the Quickstart with it.
# usage: scripts/release.sh TOOLS [--unreleased]
# (With --unreleased, the reasons against a release are only printed.)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

tools=$1 option=${2:-}
[[ -z $option || $option == --unreleased ]] || fail "unknown option $option; there is only --unreleased"
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' airflow_provider_trigger/__init__.py)

refuse() { # refuse REASON
    if [[ -z $option ]]; then fail "$1"; fi
    say "no release, only a trial: $1"
}

changes=$(sed -n 's/^## //p' CHANGELOG.md | head -n 1)
[[ $changes =~ ^"$version, "[0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] ||
    refuse "CHANGELOG.md begins with '$changes', and the version is $version: write '$version, YYYY-MM-DD'"
[[ ${GITHUB_REF_TYPE:-} != tag || $GITHUB_REF_NAME == "v$version" ]] ||
    refuse "the tag is $GITHUB_REF_NAME, and the version is $version: the tag must be v$version"
without=$(grep -lE 'not released yet|Before the release' README.md docs/*.md | tr '\n' ' ' || true)
[[ -z $without ]] || refuse "these files say that there is no release yet: $without"
[[ -z $(git status --porcelain) ]] || refuse "git status shows changes: commit or remove them"

scripts/package.sh "$tools"
links=$(grep -o 'href="[^"]*"' build/README.html | sort -u | grep -cvE 'href="(https?:|#)' || true)
((links == 0)) || refuse "$links links of the README lead nowhere on the package index: give them whole addresses"

sdist=$(ls dist/*.tar.gz) wheel=$(ls dist/*.whl)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
use_index_of_pip
tar -xzf "$sdist" -C "$work"
unpacked=$work/$(basename "$sdist" .tar.gz)

say "the sdist: make test"
# Without the variables of the `make` that runs this.
env -u MAKEFLAGS -u MAKELEVEL -u ARGS make -C "$unpacked" test TESTS="tests/unit/api tests/unit/run tests/contract" WORKERS=2
# From here on its tests can use only the package that is installed.
rm -rf "$unpacked/airflow_provider_trigger"

for airflow in 2.11 3.3 "$(sed -n 's/^NEWEST := //p' Makefile)"; do
    # shellcheck disable=SC2046  # a list of versions
    python=$(find_python "$airflow" $(supported_pythons "$airflow"))
    for file in "$wheel" "$sdist"; do
        say "Airflow $airflow: the Quickstart with $file"
        .tools/bin/uv venv --quiet --clear --python "$python" "$work/venv"
        .tools/bin/uv pip install --quiet --python "$work/venv/bin/python" -c "constraints/airflow-$airflow.txt" \
            -b constraints/build.txt "$file[testing]"
        (cd "$unpacked" && "$work/venv/bin/pytest" -q tests/integration/docs/test_a_new_user.py)
    done
done
cat dist/SHA256SUMS
say "dist: $version is ${option:+NOT }ready to be released"
