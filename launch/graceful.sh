#!/usr/bin/env bash
# launch/graceful.sh COMMAND...: runs `mpirun ...` or `srun ...`. On SIGTERM, SIGHUP or
# SIGINT, the job has time to write a checkpoint and to choose its exit status, 143 or 130.
#
# mpirun kills its ranks one second after either signal and exits with status 1, and srun
# has Slurm kill them; but both only forward SIGUSR1 and SIGUSR2, which distmnist's ranks
# handle in the same way. While it starts or ends, either signal ends mpirun itself.
set -u

(($#)) || { echo "graceful.sh: give a command, mpirun ... or srun ..." >&2 && exit 2; }

# Where mpirun is signalled too, as every process of a job may be, one second is not
# enough on a busy machine.
export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout-3}

"$@" &
job=$!
stopped='' # its status if the forwarded signal ends it
trap 'stopped=143; kill -USR1 $job' TERM HUP
trap 'stopped=130; kill -USR2 $job' INT

# A trapped signal ends `wait`, not the job. The shell would report what ended that.
exec 3>&2 2>/dev/null
while kill -0 $job; do wait $job; done
wait $job
status=$?
case $status in
  130 | 143) exit $status ;; # reported by distmnist
  138 | 140) [[ -z $stopped ]] || exit "$stopped" ;; # SIGUSR1, SIGUSR2
esac
((status <= 128 || status > 192)) || # silent in mpirun: see openmpi-mca-params.conf
  echo "graceful.sh: $1 ended with status $status: it or a rank was killed (signal" \
    "$((status - 128))) or failed to start; set OMPI_MCA_orte_execute_quiet=0 to see" \
    "the error of Open MPI" >&3
exit $status
