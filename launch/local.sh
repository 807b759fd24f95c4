#!/usr/bin/env bash
#
# Trains on this machine. Sets up .venv first if it is missing or out of date.

set -euo pipefail

launch=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

usage() {
  cat <<EOF
Usage: launch/local.sh [-np N] [flags of distmnist.train]

  -np N   number of workers (default: one per GPU, or 2 without a GPU)

Exit status: that of distmnist.train, or 128 + N if a worker was killed by signal N.

Example:   launch/local.sh -np 4 --max_steps=2000 --log_dir=/tmp/distmnist
All flags: .venv/bin/python -m distmnist.train --help
EOF
}

# workers: prints the default number of workers, one per visible GPU.
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
  echo "local.sh: -np must be a number of workers, at least 1, not '$np'" >&2
  exit 2
fi

# Open MPI crashes for a user without a home directory, as containers may have.
export HOME=${HOME:-/}
"$launch/setup.sh" --quiet >&2
# shellcheck source=/dev/null
source "$launch/../.venv/bin/activate"

((np > 1)) || exec python -m distmnist.train "$@"
# Workers cannot see mpirun's terminal.
[[ ! -t 2 ]] || set -- --progress "$@"
# mpirun, because horovodrun prefixes each line with its rank.
exec "$launch/graceful.sh" mpirun -np "$np" python -m distmnist.train "$@"
