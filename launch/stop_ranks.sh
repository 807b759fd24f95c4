#!/usr/bin/env bash
#
# In a worker of an MPIJob, as its preStop hook: sends SIGTERM to the ranks that mpirun
# started on this host, whatever program they run, and waits until they have ended. sshd
# ends at once when the pod is stopped, which would kill them; before it, they have time
# to write a checkpoint.

set -euo pipefail

usage() {
  cat <<EOT
Usage: launch/stop_ranks.sh

Ranks are found by their environment, OMPI_COMM_WORLD_RANK, which their child processes
inherit. Of the processes of a rank, those that handle SIGTERM receive it, once: neither a
script around the program nor a helper that it has started is killed. A rank that handles
no signals is ended with all its processes.

Waits as long as it takes: Kubernetes limits it by the pod's grace period.

Exit status: 0, also without a rank; 2 for an argument.
EOT
}

case ${1-} in
  '') ;;
  -h | --help) usage && exit ;;
  *) echo "stop_ranks: takes no arguments; see launch/stop_ranks.sh --help" >&2 && exit 2 ;;
esac

# ranks: prints "PID NAME" for each process of a rank. The name is that of the rank and
# its job: those of an earlier job may not have ended yet.
ranks() {
  local file job
  while IFS=: read -r -d '' file rank; do
    job=$(grep -aszm1 '^PMIX_NAMESPACE=' "$file" | tr -d '\0') || continue # has ended
    file=${file#/proc/}
    echo "${file%/environ} $job,${rank#*=}"
  done < <(grep -aszHm1 '^OMPI_COMM_WORLD_RANK=' /proc/[0-9]*/environ)
}

# handles_sigterm PID
handles_sigterm() {
  local caught
  caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
  ((16#${caught:-0} & 1 << 14))
}

declare -A signalled=()
while true; do
  declare -A all=() handling=()
  while read -r pid rank; do
    all[$rank]+=" $pid"
    ! handles_sigterm "$pid" || handling[$rank]+=" $pid"
  done < <(ranks)
  ((${#all[@]})) || exit 0
  for rank in "${!all[@]}"; do
    # A second signal would end the rank without a checkpoint.
    [[ -z ${signalled[$rank]-} ]] || continue
    signalled[$rank]=yes
    # shellcheck disable=SC2086 # several
    kill -TERM ${handling[$rank]-${all[$rank]}} 2>/dev/null || true # has just ended
  done
  sleep 0.2
done
