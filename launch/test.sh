#!/usr/bin/env bash
#
# Runs all checks: ruff, mypy, the import contracts and the tests. Sets up .venv first
# if it is missing or out of date.
#
# Usage: launch/test.sh [arguments of pytest]
#
# Without arguments the slow tests are skipped; launch/test.sh -m slow runs them.

set -euo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
launch/setup.sh --quiet
# shellcheck source=/dev/null
source .venv/bin/activate

status=0
ruff check . || status=1
ruff format --check . || status=1
mypy || status=1
lint-imports --no-cache || status=1
if (($#)); then
  pytest "$@" || status=$?
else
  pytest -m 'not slow and not ranks' --numprocesses 2 --dist loadfile \
    --no-loadscope-reorder || status=$?
  # One at a time: ranks that wait for each other keep their cores busy, so that two jobs
  # gain nothing, and time out.
  pytest -m 'not slow and ranks' || status=$?
fi
exit "$status"
