#!/usr/bin/env bash
# Write constraints/*.txt anew: for each Airflow the versions of all that tests, demo and lint install.
# usage: scripts/constraints.sh UV
#
# Each file serves every Python that its Airflow runs on (markers tell them apart). The newest Airflow comes with
# today's versions of everything else; an older one with those of the day after its release, which is what its
# official constraints, and so managed Airflows, install. What came later breaks some of them: Airflow 3.0's
# execution API does not work on a newer FastAPI, nor 3.2's on a newer pydantic.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1

compile() { # compile FILE [OPTION...]: requirements come from the options
    local file=constraints/$1.txt
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
airflow 3.0.0 3.0.0 --exclude-newer 2025-04-23T12:00:00Z
airflow 3.0 3.0.6 --exclude-newer 2025-08-30T12:00:00Z
airflow 3.1 3.1.8 --exclude-newer 2026-03-12T12:00:00Z
airflow 3.2 3.2.2 --exclude-newer 2026-05-30T12:00:00Z
airflow 3.3 3.3.2

compile lint --group lint --constraints constraints/airflow-3.3.txt
compile bench --group bench --constraints constraints/airflow-3.3.txt
# For every Airflow, so without what each Airflow's own file pins.
compile e2e --group e2e --no-emit-package greenlet --no-emit-package typing-extensions
compile celery --group celery --constraints constraints/airflow-3.3.txt --constraints constraints/e2e.txt
compile docs --group docs --constraints constraints/airflow-3.3.txt
compile build <(printf '%s\n' 'hatchling>=1.27' editables)
compile uv <(echo uv)
