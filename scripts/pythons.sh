# Functions for the other scripts: which Python an Airflow supports, where this machine has one, and the index of packages.
# shellcheck shell=bash

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

say() { printf '==> %s\n' "$*"; }

# uv does not read pip's configuration, where a machine may say which index it uses.
use_index_of_pip() {
    local index
    index=$(.tools/bin/python -m pip config list | sed -n "s/^.*\.index-url='\(.*\)'$/\1/p" | head -n 1)
    if [[ -n $index ]]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
}

# Airflow's own metadata does not tell: 2.11.2 excludes "3.13" and so allows 3.13.1.
supported_pythons() { # supported_pythons AIRFLOW
    case $1 in
        2.11* | 3.0*) echo "3.12 3.11" ;;
        *) echo "3.13 3.12 3.11" ;;
    esac
}

# Print "3.12 /path/to/python" if the interpreter starts; a pyenv shim may exist and not start.
describe() { # describe COMMAND
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null
}

# Print the path of the first interpreter on this machine with one of the versions, or fail and say what is missing.
find_python() { # find_python AIRFLOW VERSION...
    local airflow=$1 found="" candidate description wanted
    shift
    wanted=" $* "
    for candidate in python3 python3.13 python3.12 python3.11 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        description=$(describe "$candidate") || continue
        if [[ $wanted == *" ${description%% *} "* ]]; then
            echo "${description#* }"
            return
        fi
        [[ $found == *"${description%% *} ("* ]] || found+="${found:+, }${description%% *} ($candidate)"
    done
    fail "Airflow $airflow needs Python $(sed 's/ / or /g' <<<"$*"); found here: ${found:-none}." \
        "Install one, for example: apt install python$1-venv, brew install python@$1, or pyenv install $1."
}
