# shellcheck shell=bash disable=SC2154
#
# Command execution and progress output of launch/setup.sh, which sources this file and
# sets log, dry_run, root and wheelhouse.

say() { if $dry_run; then echo "# $*"; else echo "$*"; fi; }

# fail STATUS WORD...: prints a one-line error and exits.
fail() {
  echo "setup: ${*:2}" >&2
  exit "$1"
}

# lock FD: takes an exclusive lock, waiting for it. Does nothing where flock is missing
# or the file system has no locks.
lock() {
  command -v flock >/dev/null || return 0
  flock -n "$1" && return
  say "Waiting for another set-up"
  flock "$1" || true
}

# run COMMAND...: prints the command, quoted for a shell, and runs it.
run() {
  local word line=''
  for word; do
    [[ $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]] || word=${word@Q}
    line+="$word "
  done
  echo "${line% }"
  $dry_run || "$@"
}

# step NUMBER TEXT FUNCTION: runs the function, showing the elapsed time and the
# percentage that make reports.
step() {
  local begin=$SECONDS shown=0 every=60 form='      %s\n' status=0 percent
  [[ ! -t 1 ]] || every=1 form='\r      %s\033[K'
  say "[$1/5] $2"
  if $dry_run; then
    $3
    return
  fi
  set -m # a process group, so that an interrupt ends all of it
  $3 >"$log" 2>&1 </dev/null &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    ((SECONDS - begin >= shown + every)) || continue
    shown=$((SECONDS - begin))
    percent=$(grep -o '^ *\[ *[0-9]*%\]' "$log" | tail -n 1 | tr -d ' []') || true
    # shellcheck disable=SC2059 # the format is one of the two above
    printf "$form" "$shown s${percent:+, $percent}"
  done
  wait "$child" || status=$?
  child=''
  [[ ! -t 1 ]] || printf '\r\033[K'
  ((status == 0)) || explain
  say "      took $((SECONDS - begin)) s"
}

# explain: prints why a step failed, and exits.
explain() {
  local place missing
  for place in "$root" "${TMPDIR:-/tmp}" "${wheelhouse%/distmnist/*}"; do
    [[ -d $place ]] || continue
    (($(df -Pk "$place" | awk 'END { print $4 }') > 50000)) ||
      fail 1 "the disk of $place is full: free some space and run this again"
  done
  ! grep -q 'No space left on device' "$log" ||
    fail 1 "the disk of $root is full: free 3 GB for .venv and run this again"
  ! grep -q 'Retrying (Retry' "$log" ||
    fail 2 "cannot reach the Python package index: check the network, or set" \
      "PIP_INDEX_URL to a mirror; pip's output is in $log"
  # An older pip calls a pinned version that is missing a conflict with the pin.
  missing=$(sed -n -e 's/^ERROR: No matching distribution found for //p' \
    -e 's/^ *The user requested (constraint) //p' "$log" | head -n 1)
  [[ -z $missing ]] || fail 2 "the Python package index has no $missing for this" \
    "Python: set PIP_INDEX_URL to one that has it; pip's output is in $log"
  if grep '^setup: ' "$log" >&2; then exit 1; fi # of `fail`, in the step
  tail -n 20 "$log" >&2
  fail 1 "the last step failed; its full output is in $log"
}

# interrupted STATUS: says how to go on, and exits.
interrupted() { fail "$1" "interrupted: run this again to continue"; }

child=''
trap '[[ -z $child ]] || kill -- "-$child" 2>/dev/null' EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM HUP
