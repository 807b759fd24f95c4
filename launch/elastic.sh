#!/usr/bin/env bash
#
# Starts an elastic job on this machine, for a try: ranks may come and go.

set -euo pipefail

launch=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

usage() {
  cat <<EOF
Usage: launch/elastic.sh [flags of distmnist.train]

Trains on the hosts in the file that HOSTS names (by default hosts.txt here, which is
made if it is not there), lines of "host:workers". Edit it while the job runs, or kill
a worker, and see the job go on:

  HOSTS   the file of hosts
  MIN_NP  the fewest workers to go on with (1)
  MAX_NP  the most (8)
  NIC     the network interface between the hosts (lo: all are this machine)

Exit status: 0 done, else 1 (horovodrun's).
EOF
}

case ${1-} in -h | --help) usage && exit ;; esac

"$launch/setup.sh" --quiet >&2
# shellcheck source=/dev/null
source "$launch/../.venv/bin/activate"

export HOSTS=${HOSTS:-hosts.txt}
if [[ ! -e $HOSTS ]]; then
  # Two names of this machine, so that one can go.
  printf '%s\n' localhost:2 127.0.0.1:1 >"$HOSTS"
fi
exec horovodrun --min-np "${MIN_NP:-1}" --max-np "${MAX_NP:-8}" -np "${MIN_NP:-1}" \
  --host-discovery-script "$launch/discover_hosts.sh" --network-interface "${NIC:-lo}" \
  --blacklist-cooldown-range 10 60 python -m distmnist.train --elastic "$@"
