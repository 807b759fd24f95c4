#!/usr/bin/env bash
#
# For horovodrun --host-discovery-script in the launcher of an elastic MPIJob: prints
# those workers that run, as the operator's script says, whose sshd answers. A worker
# that just came or just went would else fail at its start, and the others with it.

set -uo pipefail

{
  for host in $(/etc/mpi/discover_hosts.sh); do
    timeout 2 bash -c "</dev/tcp/$host/2222" 2>/dev/null && echo "$host" &
  done
  wait
} | sort -V
