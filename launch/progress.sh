# shellcheck shell=bash disable=SC2154
#
# How launch/setup.sh runs its commands and shows how far it is. Sourced; what
# is not set here (log, dry_run, root, wheelhouse) is set there.

say() { if $dry_run; then echo "# $*"; else echo "$*"; fi; }

# fail STATUS WORD...: ends with one line.
fail() {
  echo "setup: ${*:2}" >&2
  exit "$1"
}

# lock FD: one at a time. Goes on without where there is no flock, or no locks.
lock() {
  command -v flock >/dev/null || return 0
  flock -n "$1" && return
  say "Waiting for another set-up"
  flock "$1" || true
}

# run COMMAND...: prints it as a shell would take it, and runs it.
run() {
  local word line=''
  for word; do
    [[ $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]] || word=${word@Q}
    line+="$word "
  done
  echo "${line% }"
  $dry_run || "$@"
}

# step NUMBER TEXT FUNCTION: runs it, shows for how long and, of make, how far.
step() {
  local begin=$SECONDS shown=0 every=60 form='      %s\n' status=0 percent
  [[ ! -t 1 ]] || every=1 form='\r      %s\033[K'
  say "[$1/5] $2"
  if $dry_run; then
    $3
    return
  fi
  set -m # a process group, which an interrupt can end as a whole
  $3 >"$log" 2>&1 </dev/null &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    ((SECONDS - begin >= shown + every)) || continue
    shown=$((SECONDS - begin))
    percent=$(grep -o '^ *\[ *[0-9]*%\]' "$log" | tail -n 1 | tr -d ' []') || true
    # shellcheck disable=SC2059 # the form is one of the two above
    printf "$form" "$shown s${percent:+, $percent}"
  done
  wait "$child" || status=$?
  child=''
  [[ ! -t 1 ]] || printf '\r\033[K'
  ((status == 0)) || explain
  say "      took $((SECONDS - begin)) s"
}

# explain: says why a step failed, and ends.
explain() {
  local place
  for place in "$root" "${TMPDIR:-/tmp}" "${wheelhouse%/distmnist/*}"; do
    [[ -d $place ]] || continue
    (($(df -Pk "$place" | awk 'END { print $4 }') > 50000)) ||
      fail 1 "the disk of $place is full: make room and run this again"
  done
  ! grep -q 'No space left on device' "$log" ||
    fail 1 "the disk of $root is full, .venv takes 3 GB: make room and run this again"
  ! grep -q 'Retrying (Retry' "$log" ||
    fail 2 "cannot reach the Python package index: connect to it, or set PIP_INDEX_URL" \
      "to a mirror; $log has what pip says"
  tail -n 20 "$log" >&2
  fail 1 "the last step failed; all that it said is in $log"
}

child=''
trap '[[ -z $child ]] || kill -- "-$child" 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
