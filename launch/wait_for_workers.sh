#!/usr/bin/env bash
#
# In the launcher of an MPIJob: waits until the workers accept ssh, then becomes the
# command. Workers that are ready may still lack their name in the cluster's DNS, or
# be back only in a moment after a failure that made the launcher start again.

set -euo pipefail

usage() {
  cat <<EOT
Usage: launch/wait_for_workers.sh [--at-least N] [--seconds S] COMMAND...

  --at-least N   how many workers must answer; by default all of the host file
  --seconds S    how long to wait for them, 300 by default

The host file is the operator's, \$OMPI_MCA_orte_default_hostfile.

Exit status: that of the command; 1 if too few workers answer in time; 2 for a wrong
option. One line says what.
EOT
}

# fail STATUS WORD...: ends with one line.
fail() {
  echo "wait_for_workers: ${*:2}" >&2
  exit "$1"
}

hostfile=${OMPI_MCA_orte_default_hostfile:-/etc/mpi/hostfile}
at_least='' seconds=300
while (($#)); do
  case $1 in
    --at-least) at_least=${2-} && shift $(($# > 1 ? 2 : 1)) ;;
    --seconds) seconds=${2-} && shift $(($# > 1 ? 2 : 1)) ;;
    -h | --help) usage && exit ;;
    -*) fail 2 "unknown option '$1'; see launch/wait_for_workers.sh --help" ;;
    *) break ;;
  esac
done
(($#)) || fail 2 "no command; see launch/wait_for_workers.sh --help"
[[ -r $hostfile ]] || fail 2 "no host file $hostfile: this runs in an MPIJob's launcher"

mapfile -t waiting < <(sed 's/[[:space:]#].*//; /^$/d' "$hostfile")
workers=${#waiting[@]}
at_least=${at_least:-$workers}
[[ $at_least =~ ^[1-9][0-9]*$ && $at_least -le $workers ]] ||
  fail 2 "--at-least wants 1 to $workers, the workers in $hostfile, not '$at_least'"
[[ $seconds =~ ^[0-9]+$ ]] || fail 2 "--seconds wants a whole number, not '$seconds'"

while true; do
  still=()
  for host in "${waiting[@]}"; do
    said=$(ssh -n -o BatchMode=yes -o ConnectTimeout=5 "$host" true 2>&1) && continue
    still+=("$host")
    reason=${said##*$'\n'}
  done
  waiting=("${still[@]}")
  ((workers - ${#waiting[@]} < at_least)) || exec "$@"
  ((SECONDS < seconds)) || fail 1 "after $SECONDS s, $((workers - ${#waiting[@]})) of" \
    "$workers workers answer, $at_least must; ${waiting[0]}: ${reason//$'\r'/}"
  sleep 1
done
