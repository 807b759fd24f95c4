#!/usr/bin/env bash
#
# In the launcher of an MPIJob or a TrainJob: waits until the workers accept ssh
# connections, then executes the command. The DNS may not resolve a ready worker's name
# yet, and after a failure the workers may restart later than the launcher.

set -euo pipefail

usage() {
  cat <<EOT
Usage: launch/wait_for_workers.sh [--at-least N] [--seconds S] COMMAND...

  --at-least N   number of workers to wait for (default: all in the host file)
  --seconds S    timeout in seconds (default: 300)

The MPI Operator and Kubeflow Trainer set the host file,
\$OMPI_MCA_orte_default_hostfile.

Exit status: that of the command; 1 on timeout; 2 for a wrong option. Errors are
reported in one line.
EOT
}

# fail STATUS WORD...: prints a one-line error and exits.
fail() {
  echo "wait_for_workers: ${*:2}" >&2
  exit "$1"
}

# is_here HOST: whether the name resolves to this host. A launcher of Kubeflow Trainer is
# in the host file, too; mpirun starts ranks there without ssh.
is_here() {
  local address rest
  while read -r address rest; do
    [[ " $addresses " != *" $address "* ]] || return 0
  done < <(getent ahosts "$1")
  return 1
}

addresses=$(hostname -I 2>/dev/null) || addresses=''
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
[[ -r $hostfile ]] || fail 2 "no host file $hostfile: run this in a job's launcher"

mapfile -t waiting < <(sed 's/[[:space:]#].*//; /^$/d' "$hostfile")
workers=${#waiting[@]}
at_least=${at_least:-$workers}
[[ $at_least =~ ^[1-9][0-9]*$ && $at_least -le $workers ]] ||
  fail 2 "--at-least must be from 1 to $workers, the workers in $hostfile, not" \
    "'$at_least'"
[[ $seconds =~ ^[0-9]+$ ]] || fail 2 "--seconds must be an integer, not '$seconds'"

while true; do
  silent=()
  for host in "${waiting[@]}"; do
    ! is_here "$host" || continue
    output=$(ssh -n -o BatchMode=yes -o ConnectTimeout=5 "$host" true 2>&1) && continue
    silent+=("$host")
    reason=${output##*$'\n'}
  done
  waiting=("${silent[@]}")
  ((workers - ${#waiting[@]} < at_least)) || exec "$@"
  ((SECONDS < seconds)) || fail 1 "after $SECONDS s, $((workers - ${#waiting[@]})) of" \
    "$workers workers answer, $at_least required;" \
    "${waiting[0]}: ${reason//$'\r'/}"
  sleep 1
done
