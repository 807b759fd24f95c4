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
# Two at a time: half of the time of a test is that of one core, importing TensorFlow.
(($#)) || set -- -m 'not slow' --numprocesses 2 --dist loadfile
pytest "$@" || status=$?
exit "$status"
