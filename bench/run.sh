#!/usr/bin/env bash
# Training throughput side by side: our ranks, and PyTorch DDP over Gloo where Debian's packages can be had.
#   bench/run.sh [ROUNDS]
# Every round runs all contenders one after the other, so that a slow minute of the machine hits them alike.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
python=/usr/bin/python3

if ! $python -c "import torch" 2>/dev/null; then
  if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    # Without OpenBLAS, Debian's torch computes with the reference BLAS, 20 times slower: a straw man.
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-torch libopenblas0-openmp >/dev/null
  else
    echo "PyTorch is left out: install python3-torch and libopenblas0-openmp to compare with it."
  fi
fi

dotnet build bench/engine -c Release --nologo -v quiet
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
for model in "tiny 32" "mlp 128"; do
  read -r name batch <<<"$model"
  for ((round = 1; round <= rounds; round++)); do
    artifacts/bin/MLDistributed.Engine.Bench/release/MLDistributed.Engine.Bench "$name" 1 | sed -n '1p;2p;3p' | if [[ $round -eq 1 ]]; then cat; else tail -n 1; fi
    if $python -c "import torch" 2>/dev/null; then
      echo "       PyTorch $name: one process $($python bench/peers/ddp.py "$name" 1 "$batch"), DDP of two $($python bench/peers/ddp.py "$name" 2 "$batch"), two unconnected $($python bench/peers/ddp.py "$name" 2 "$batch" --unconnected)"
    fi
  done
done
