#!/usr/bin/env bash
# The hosts of an elastic job, for horovodrun --host-discovery-script: the lines
# "host:slots" of the file HOSTS names, read anew each time, so that the job grows and
# shrinks with the file.
grep -v '^ *\(#\|$\)' "${HOSTS:-hosts.txt}" || true
