#!/usr/bin/env bash
# Host discovery of an elastic job (horovodrun --host-discovery-script): prints the
# "host:slots" lines of the file $HOSTS; any other, on which horovodrun would fail, is
# left out. It is read on every call, so that editing the file grows or shrinks the job.
LC_ALL=C sed -En \
  's/^[[:space:]]*([[:alnum:]_.-]+:[1-9][0-9]{0,4})[[:space:]]*(#.*)?$/\1/p' \
  -- "${HOSTS:-hosts.txt}" || true
