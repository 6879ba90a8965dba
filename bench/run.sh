#!/usr/bin/env bash
# The engine beside its peers on this machine: all-reduce beside plain C, MPICH and Gloo, and over two hosts beside Gloo; a dataset on its way to four; training beside PyTorch DDP.
#   bench/run.sh [ROUNDS] [train|allreduce|hosts|data|memory|oversubscribed]
# Writes bench/results/DATE-TIME.md. In every round all contenders take turns, so that a slow minute of the machine
# hits them alike. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} only=${2:-}
packages=(python3-torch libopenblas0-openmp mpich libmpich-dev gcc)

# Without OpenBLAS, Debian's torch computes with the reference BLAS, 20 times slower: a straw man.
if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
  if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  else
    echo "The peers are left out; to compare with them: sudo apt-get install ${packages[*]}" >&2
  fi
fi

dotnet build bench/engine -c Release --nologo -v quiet
dotnet build src/Cli -c Release --nologo -v quiet   # a coordinator, for "data"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work   # what a contender leaves goes with it
if dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
  cp bench/peers/*.py "$work"
  cc -O3 -march=native -o "$work/allreduce" bench/peers/allreduce.c
  mpicc -O3 -o "$work/allreduce_mpi" bench/peers/allreduce_mpi.c
  export MLDIST_BENCH_PEERS=$work
  # An OpenBLAS that is older than the processor falls back to kernels without AVX, five times slower: the fastest
  # kernels that run here are the peers'.
  fastest=0 kernels=default
  for candidate in default Haswell SkylakeX Zen; do
    unset OPENBLAS_CORETYPE
    [[ $candidate == default ]] || export OPENBLAS_CORETYPE=$candidate
    rate=$(printf '\n\n' | OMP_NUM_THREADS=1 /usr/bin/python3 "$work/ddp.py" mlp 128 0 1 - 2>/dev/null | sed -n '$s/\..*//p' || true)
    if ((${rate:-0} > fastest)); then fastest=$rate kernels=$candidate; fi
  done
  unset OPENBLAS_CORETYPE
  [[ $kernels == default ]] || export OPENBLAS_CORETYPE=$kernels
fi

mkdir -p bench/results
result=bench/results/$(date +%F-%H%M).md
{
  echo "# $(date +%F), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), .NET $(dotnet --version), $rounds rounds"
  [[ -z ${kernels:-} ]] || echo "The peers' OpenBLAS: $kernels kernels."
  for part in train allreduce hosts data memory oversubscribed; do
    [[ -z $only || $only == "$part" ]] || continue
    printf '\n## %s\n\n' "$part"
    artifacts/bin/MLDistributed.Engine.Bench/release/MLDistributed.Engine.Bench "$part" "$rounds"
  done
} | tee "$result"
