#!/usr/bin/env bash
# Checks this product on a machine with a GPU and a PyTorch install, beside which it is measured; .NET is not needed there.
#   eng/gpu-check.sh [--device cuda|cpu] [--seconds N] [MODEL..]
#   eng/gpu-check.sh --publish      on a machine with the .NET SDK: makes artifacts/gpu-check, to be copied with this script
# Prints one Markdown table; ends with 1 when something in it failed. Takes 5 minutes with the default of 2 s a measurement.
# PYTHON names another python3, GPU_CHECK_PROGRAM another build of the program. With --device cpu it tries itself, where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
device=cuda seconds=2 program=${GPU_CHECK_PROGRAM:-artifacts/gpu-check/MLDistributed.Engine.Bench} python=${PYTHON:-} publish=no
while [[ ${1:-} == --* ]]; do
  case "$1" in
    --device) device=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --publish) publish=only; shift ;;
    *) echo "gpu-check.sh: $1 is not known; --device cuda|cpu, --seconds N, --publish" >&2; exit 2 ;;
  esac
done

if [[ $publish == only || ! -x $program ]]; then
  command -v dotnet >/dev/null || { echo "gpu-check.sh: $program is not there, and no .NET SDK to make it: run eng/gpu-check.sh --publish where there is one, and copy artifacts/gpu-check" >&2; exit 2; }
  # Beside the usual build, which is not self-contained. Of the libraries that allow it, what is not used is left out.
  dotnet publish bench/engine -c Release -r linux-x64 -p:SelfContained=true -p:LeaveLibtorchOut=true -p:ArtifactsPath="$PWD/artifacts/gpu-check-build/" \
    -p:PublishTrimmed=true -p:TrimMode=partial -p:SuppressTrimAnalysisWarnings=true -p:EnableTrimAnalyzer=false -p:JsonSerializerIsReflectionEnabledByDefault=true \
    -p:DebugType=none -p:GenerateDocumentationFile=false -o artifacts/gpu-check --nologo -v quiet >&2
  echo "artifacts/gpu-check: $(du -sm artifacts/gpu-check | cut -f1) MB, packed $(tar -cz -C artifacts gpu-check | wc -c | awk '{ printf "%.0f", $1 / 1e6 }') MB" >&2
fi
[[ $publish == no ]] || exit 0

torch=
for candidate in ${python:-python3 /usr/bin/python3}; do
  [[ -z $torch ]] || break
  python=$candidate
  torch=$("$python" -c 'import torch, os; print(torch.__version__, os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null || true)
done
[[ -n $torch ]] || { echo "gpu-check.sh: $python has no torch: the peer is left out" >&2; python=-; }
# Its libtorch is ours too, unless MLDIST_LIBTORCH names one; a CPU's check takes NuGet's, should PyTorch be of another release.
nuget=${NUGET_PACKAGES:-$HOME/.nuget/packages}/libtorch-cpu-linux-x64/2.10.0/runtimes/linux-x64/native
if [[ -z ${MLDIST_LIBTORCH:-} && -n $torch && ( $device == cuda || ! -e $nuget ) ]]; then
  export MLDIST_LIBTORCH=${torch#* }
fi
[[ -n $torch ]] && release=${torch%% *} || release=none
echo "$(date +%F), PyTorch $release, libtorch of ${MLDIST_LIBTORCH:-NuGet}, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo
DOTNET_gcConcurrent=0 DOTNET_TieredPGO=0 CUDA_DEVICE_ORDER=PCI_BUS_ID DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 "$program" gpu "$device" "$seconds" "$python" "$@"
