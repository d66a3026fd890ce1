#!/usr/bin/env bash
# Write constraints/*.txt again: for each Airflow, and each dependency group, the versions of all that is installed.
# usage: scripts/constraints.sh UV [NAME...]
# (NAME is a file's, without .txt; without one, all are written.)
#
# A file is for every Python that its Airflow supports; markers tell them apart. The newest Airflow gets today's
# versions of everything else. An older one gets those of the day after its release, as its official constraints,
# and so managed Airflows, do. Later versions break some of them: Airflow 3.0's execution API does not work with a
# newer FastAPI, nor 3.2's with a newer pydantic.
set -euo pipefail
cd "$(dirname "$0")/.."
newest=$(sed -n 's/^NEWEST := //p' Makefile)
uv=$1
shift
names=" $* "

compile() { # compile NAME [OPTION...]: requirements come from the options
    local file=constraints/$1.txt
    if [[ $names != "  " && $names != *" $1 "* ]]; then return; fi
    shift
    echo "==> $file"
    "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
        --no-emit-package airflow-provider-trigger --output-file "$file" "$@" >/dev/null
}

airflow() { # airflow NAME VERSION [OPTION...]
    local name=$1 version=$2
    shift 2
    compile "airflow-$name" --extra testing --group test "$@" pyproject.toml \
        --constraints <(echo "apache-airflow==$version")
}

airflow 2.11.0 2.11.0 --exclude-newer 2025-05-21T12:00:00Z
airflow 2.11 2.11.2 --exclude-newer 2026-03-15T12:00:00Z
airflow 3.0.4 3.0.4 --exclude-newer 2025-08-09T12:00:00Z
airflow 3.0 3.0.6 --exclude-newer 2025-08-30T12:00:00Z
airflow 3.1 3.1.8 --exclude-newer 2026-03-12T12:00:00Z
airflow 3.2 3.2.2 --exclude-newer 2026-05-30T12:00:00Z
airflow 3.3 3.3.2 --exclude-newer 2026-09-18T12:00:00Z
airflow "$newest" 3.4.0b2

compile lint --group lint --constraints "constraints/airflow-$newest.txt"
compile package --group package --constraints "constraints/airflow-$newest.txt"
compile mutants --group mutants --constraints "constraints/airflow-$newest.txt"
compile bench --group bench --constraints "constraints/airflow-$newest.txt"
# For every Airflow, so without what the file of each Airflow pins.
compile e2e --group e2e --no-emit-package greenlet --no-emit-package typing-extensions
compile celery --group celery --constraints "constraints/airflow-$newest.txt" --constraints constraints/e2e.txt
compile docs --group docs --constraints "constraints/airflow-$newest.txt"
compile build <(printf '%s\n' 'hatchling>=1.27' editables)
compile uv <(echo uv)
