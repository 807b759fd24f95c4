#!/usr/bin/env bash
# Host discovery of an elastic job (horovodrun --host-discovery-script): prints the
# "host:workers" lines of the file $HOSTS. It is read on every call, so that editing the
# file grows or shrinks the job; lines that are something else, as they may be while it
# is edited, are left out, for Horovod would fail on them.
sed -nE 's/^[[:space:]]*([[:alnum:]_][[:alnum:]_.-]*:[1-9][0-9]{0,4})[[:space:]]*(#.*)?$/\1/p' \
  -- "${HOSTS:-hosts.txt}" || true
