#!/usr/bin/env bash
#
# In a worker of an MPIJob, as its preStop hook: sends SIGTERM to the ranks that mpirun
# started on this host, whatever program they run, and waits until they have ended. sshd
# ends at once when the pod is stopped, which would kill them; before it, they have time
# to write a checkpoint, and mpirun's daemon to report their exit status.

set -euo pipefail

usage() {
  cat <<EOT
Usage: launch/stop_ranks.sh

Ranks are found by their environment, OMPI_COMM_WORLD_RANK, which their child processes
inherit. Of the processes of a rank, those that handle SIGTERM receive it, once: neither a
script around the program nor a helper that it has started is killed. A rank that handles
no signals is ended with all its processes.

Waits as long as they take, which the pod's grace period limits, and then up to 15 s for
the end of the job.

Exit status: 0, also without a rank; 2 for an argument.
EOT
}

case ${1-} in
  '') ;;
  -h | --help) usage && exit ;;
  *) echo "stop_ranks: takes no arguments; see launch/stop_ranks.sh --help" >&2 && exit 2 ;;
esac

job_seconds=15 # for the ranks of other workers, which may not end

# ranks: prints "PID PARENT CAUGHT NAME" for each process of a rank. CAUGHT is the mask of
# the signals that it handles, NAME that of the rank and its job: the ranks of an earlier
# job may not have ended yet.
ranks() {
  local file rank job status
  while IFS=: read -r -d '' file rank; do
    # Either fails for a process that has just ended.
    job=$(grep -aszm1 '^PMIX_NAMESPACE=' "$file" | tr -d '\0') || continue
    status=$(sed -n 's/^\(PPid\|SigCgt\):\s*//p' "${file%environ}status" 2>/dev/null) ||
      continue
    file=${file#/proc/}
    echo "${file%/environ} ${status//$'\n'/ } $job,$rank"
  done < <(grep -aszHm1 '^OMPI_COMM_WORLD_RANK=' /proc/[0-9]*/environ)
}

# any_runs PID...
any_runs() {
  local pid
  for pid in "$@"; do ! kill -0 "$pid" 2>/dev/null || return 0; done
  return 1
}

declare -A signalled=() parents=()
while true; do
  declare -A all=() handling=()
  while read -r pid parent caught rank; do
    ((parent <= 1)) || parents[$parent]=
    all[$rank]+=" $pid"
    if ((16#$caught & 1 << (15 - 1))); then handling[$rank]+=" $pid"; fi # SIGTERM is 15
  done < <(ranks)
  ((${#all[@]})) || break
  for rank in "${!all[@]}"; do
    # A second signal would end the rank without a checkpoint.
    [[ -z ${signalled[$rank]-} ]] || continue
    signalled[$rank]=yes
    # shellcheck disable=SC2086 # several
    kill -TERM ${handling[$rank]-${all[$rank]}} 2>/dev/null || true # has just ended
  done
  sleep 0.2
done
# What is left of the parents are daemons. They end with the job: if this one were missing
# earlier, mpirun would kill ranks of other workers that are about to end.
end=$((SECONDS + job_seconds))
while any_runs "${!parents[@]}" && ((SECONDS < end)); do sleep 0.2; done
