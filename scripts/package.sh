#!/usr/bin/env bash
# Build the sdist and the wheel into dist/, check what is in them, and write the SBOM and the checksums beside them.
# usage: scripts/package.sh TOOLS
# (TOOLS is the directory of the commands of the dependency group "package".)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

tools=$1
newest=$(sed -n 's/^NEWEST := //p' Makefile)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
use_index_of_pip

say "dist: building the sdist, and the wheel from it"
rm -rf dist build
.tools/bin/uv build --quiet --python "$tools/python" --build-constraints constraints/build.txt --out-dir dist
sdist=$(ls dist/*.tar.gz) wheel=$(ls dist/*.whl)

say "checking metadata and contents"
"$tools/twine" --no-color check --strict "$sdist" "$wheel"
"$tools/check-wheel-contents" --package airflow_provider_trigger "$wheel"
top=$(basename "$sdist" .tar.gz)
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    diff <({ git ls-files; echo PKG-INFO; } | sort) <(tar -tzf "$sdist" | sed "s,^$top/,," | sort) ||
        fail "the sdist (>) must have what git has (<)"
fi
mkdir build
tar -xzOf "$sdist" "$top/PKG-INFO" | sed '1,/^$/d' >"$work/README.md"
"$tools/python" -m readme_renderer "$work/README.md" -o build/README.html

say "installing the wheel on Airflow $newest"
.tools/bin/uv venv --quiet --python "$tools/python" "$work/venv"
.tools/bin/uv pip install --quiet --python "$work/venv/bin/python" -c "constraints/airflow-$newest.txt" "$wheel"
(
    cd "$work"
    export AIRFLOW_HOME=$work/airflow
    venv/bin/airflow providers get airflow-provider-trigger --full --output json >provider.json
    grep -q TriggerDevHook provider.json || fail "Airflow does not find the connection type: $(<provider.json)"
    venv/bin/python -c 'from importlib.resources import files as f; f("airflow_provider_trigger").joinpath("py.typed").read_text()'
)
# What the wheel brings with it on this Airflow. The tool does not know a dynamic version.
sed "s/^dynamic = .*/version = \"${top##*-}\"/" pyproject.toml >"$work/pyproject.toml"
"$tools/cyclonedx-py" environment "$work/venv/bin/python" --pyproject "$work/pyproject.toml" --mc-type library \
    --output-reproducible --output-file "dist/$top.cdx.json"

(cd dist && sha256sum -- *.* >SHA256SUMS)
say "dist: ready; build/README.html is the README as the package index shows it"
