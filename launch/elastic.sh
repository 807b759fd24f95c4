#!/usr/bin/env bash
#
# Starts an elastic job on this machine: ranks may join and leave while it runs.

set -euo pipefail

launch=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

usage() {
  cat <<EOF
Usage: launch/elastic.sh [flags of distmnist.train]

Trains on the hosts listed in \$HOSTS, one "host:workers" per line. The job continues
when the file is edited or a worker is killed. Environment variables:

  HOSTS   host file, created if missing (default: hosts.txt)
  MIN_NP  minimum number of workers; with fewer, training waits (default: 1)
  MAX_NP  maximum number of workers (default: 8)
  NIC     network interface between the hosts (default: lo, this machine only)

Exit status: 0 on success, 2 if HOSTS lists no hosts, else 1 (horovodrun's).
EOF
}

case ${1-} in -h | --help) usage && exit ;; esac

"$launch/setup.sh" --quiet >&2
# shellcheck source=/dev/null
source "$launch/../.venv/bin/activate"

export HOSTS=${HOSTS:-hosts.txt}
if [[ ! -e $HOSTS ]]; then
  # Two names of this machine, so that one of them can be removed.
  printf '%s\n' localhost:2 127.0.0.1:1 >"$HOSTS"
fi
if [[ ! -f $HOSTS || ! -r $HOSTS ]]; then
  echo "elastic.sh: HOSTS=$HOSTS is not a file that can be read; name another" >&2
  exit 2
fi
hosts=$("$launch/discover_hosts.sh")
if [[ -z $hosts ]]; then
  echo "elastic.sh: $HOSTS lists no hosts, and the job would wait for some: write a" \
    "line \"host:workers\" for each, such as localhost:2" >&2
  exit 2
fi
listed=$(grep -cvE '^[[:space:]]*(#.*)?$' -- "$HOSTS") || true
if ((listed > $(wc -l <<<"$hosts"))); then
  echo "elastic.sh: warning: lines of $HOSTS that are not \"host:workers\" are ignored;" \
    "the job has: ${hosts//$'\n'/ }" >&2
fi
# Horovod runs the script by a shell, which would split a path with spaces.
discover=$(printf %q "$launch/discover_hosts.sh")
exec horovodrun --min-np "${MIN_NP:-1}" --max-np "${MAX_NP:-8}" -np "${MIN_NP:-1}" \
  --host-discovery-script "$discover" --network-interface "${NIC:-lo}" \
  --blacklist-cooldown-range 10 60 python -m distmnist.train --elastic "$@"
