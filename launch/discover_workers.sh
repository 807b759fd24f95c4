#!/usr/bin/env bash
#
# Host discovery in the launcher of an elastic MPIJob (horovodrun
# --host-discovery-script): prints the workers of the operator's discovery script whose
# sshd answers. A worker that is starting up or shutting down would fail, and the other
# workers with it.

set -uo pipefail

{
  for host in $(/etc/mpi/discover_hosts.sh); do
    timeout 2 bash -c "</dev/tcp/$host/2222" 2>/dev/null && echo "$host" &
  done
  wait
} | sort -V
