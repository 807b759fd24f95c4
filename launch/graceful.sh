#!/usr/bin/env bash
# launch/graceful.sh COMMAND...: runs `mpirun ...`, and lets a job that is told to end
# (SIGTERM, SIGINT) write a checkpoint and choose the exit status: 143 or 130.
#
# mpirun kills its ranks one second after such a signal, and makes 1 of the status.
# SIGUSR1 and SIGUSR2 it only forwards, and to distmnist's ranks they mean the same.
set -u

"$@" &
job=$!
trap 'kill -USR1 $job' TERM
trap 'kill -USR2 $job' INT

# A trapped signal ends `wait`, not the job.
while kill -0 $job 2>/dev/null; do wait $job; done
wait $job
