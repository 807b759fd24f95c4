#!/usr/bin/env bash
#
# Runs every check: ruff, mypy and the tests, setting up .venv first if it is not.
#
# Usage: launch/test.sh [arguments of pytest]
#
# Without arguments it leaves out what takes many minutes: launch/test.sh -m slow

set -euo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
launch/setup.sh --quiet
# shellcheck source=/dev/null
source .venv/bin/activate

status=0
ruff check . || status=1
ruff format --check . || status=1
mypy || status=1
(($#)) || set -- -m 'not slow'
pytest "$@" || status=$?
exit "$status"
