#!/usr/bin/env bash
#
# Trains on this machine, with everything that it takes: sets up .venv if it is not.

set -euo pipefail

launch=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

usage() {
  cat <<EOF
Usage: launch/local.sh [-np N] [flags of distmnist.train]

  -np N   how many workers; by default one for each GPU, or 2 where there is none

Exit status: that of distmnist.train, or 128 + N if signal N ended a worker.

For example: launch/local.sh -np 4 --max_steps=2000 --log_dir=/tmp/distmnist
All flags:   .venv/bin/python -m distmnist.train --help
EOF
}

# workers: one for each GPU that may be used.
workers() {
  local gpus
  gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || gpus=0
  if ((gpus)) && [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    gpus=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | wc -l)
  fi
  echo $((gpus ? gpus : 2))
}

np=''
case ${1-} in
  -h | --help) usage && exit ;;
  -np | --np | -n) np=${2-missing} && shift $(($# > 1 ? 2 : 1)) ;;
  -np=* | --np=* | -n=*) np=${1#*=} && shift ;;
  *) np=$(workers) ;;
esac
if [[ ! $np =~ ^[1-9][0-9]{0,4}$ ]]; then
  echo "local.sh: -np wants a number of workers, 1 or more, not '$np'" >&2
  exit 2
fi

"$launch/setup.sh" --quiet >&2
# shellcheck source=/dev/null
source "$launch/../.venv/bin/activate"

((np > 1)) || exec python -m distmnist.train "$@"
# A terminal that mpirun has is none for its workers.
[[ ! -t 2 ]] || set -- --progress "$@"
# Not horovodrun, which marks each line with its rank. --quiet: a worker that failed
# has said why, and mpirun need not add a page to it.
exec "$launch/graceful.sh" mpirun --quiet -np "$np" python -m distmnist.train "$@"
