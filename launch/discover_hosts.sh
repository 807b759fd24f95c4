#!/usr/bin/env bash
# Host discovery of an elastic job (horovodrun --host-discovery-script): prints the
# "host:slots" lines of the file $HOSTS. It is read on every call, so that editing the
# file grows or shrinks the job.
grep -v '^ *\(#\|$\)' "${HOSTS:-hosts.txt}" || true
