#!/usr/bin/env bash
# Make or update a virtual environment: an Airflow with its constraints, and this project, editable.
# usage: scripts/venv.sh DIRECTORY AIRFLOW [PYTHON [DEPENDENCY_GROUP]]
# (PYTHON is a version such as 3.12; empty means the first interpreter found that Airflow supports.)
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/pythons.sh

directory=$1 airflow=$2 wanted=${3:-} group=${4:-}
tools=.tools

# uv takes seconds where pip takes minutes. pip installs it into an environment of its own.
install_uv() { # install_uv PYTHON
    local stamp=$tools/.stamp
    if "$tools/bin/uv" --version >/dev/null 2>&1 && [[ ! constraints/uv.txt -nt $stamp ]]; then return; fi
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$1 has no venv module. Install it; on Debian and Ubuntu: apt install python3-venv" \
            "(or python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv)."
    say "$tools: installing the installer, $(cat constraints/uv.txt)"
    "$1" -m venv --clear "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check -r constraints/uv.txt
    touch "$stamp"
}

# Make the environment, unless one with the same version of Python exists.
make_venv() { # make_venv PYTHON
    local version
    version=$(describe "$1")
    if [[ "$(describe "$directory/bin/python")" == "${version%% *} "* ]]; then return; fi
    say "$directory: a new environment on Python ${version/ / at }"
    "$tools/bin/uv" venv --quiet --clear --python "$1" "$directory"
}

install_project() {
    local options=(--group test -c "constraints/airflow-$airflow.txt" -b constraints/build.txt)
    if [[ -n $group ]]; then options+=(--group "$group" -c "constraints/$group.txt"); fi
    say "$directory: installing Airflow $airflow${group:+, the tools for $group} and this project," \
        "some 140 packages; the first time they are downloaded"
    use_index_of_pip
    # --exact removes packages that are no longer needed; compiling saves seconds at each start of Airflow.
    # The output omits the list of all packages.
    "$tools/bin/uv" pip install --python "$directory/bin/python" --exact --compile-bytecode \
        "${options[@]}" -e '.[testing]' 2>&1 | { grep --line-buffered -v '^ [-+~] ' || true; }
}

pythons=$(supported_pythons "$airflow")
if [[ -n $wanted && " $pythons " != *" $wanted "* ]]; then
    fail "Airflow $airflow runs on Python $(sed 's/ / or /g' <<<"$pythons"), not on $wanted."
fi
# shellcheck disable=SC2086  # a list of versions
python=$(find_python "$airflow" ${wanted:-$pythons})
export UV_PYTHON_DOWNLOADS=never  # install no interpreter on the user's machine

install_uv "$python"
make_venv "$python"
install_project
touch "$directory/.stamp"
say "$directory: ready"
