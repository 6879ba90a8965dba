#!/usr/bin/env bash
# Packs everything that users add into artifacts/packages, a folder that NuGet takes as a source.
# The version comes from Git's tags (Directory.Build.targets).
#   ./pack.sh [--baseline PATH]     PATH is the last release's MLDistributed.X.Y.Z.nupkg: whatever an app could call
#                                   there has to be there still
set -euo pipefail
cd "$(dirname "$0")"
packages=$PWD/artifacts/packages
build=(-c Release --nologo -v quiet)
baseline=()
case "${1:-}" in
  "") ;;
  --baseline) baseline=("-p:PackageValidationBaselinePath=$(realpath "${2:?--baseline: the path of a package is missing}")") ;;
  *) echo "pack.sh: $1 is not known; --baseline PATH" >&2; exit 2 ;;
esac

rm -rf "$packages"
# The client and libtorch's package come with the second.
dotnet build src/Cli "${build[@]}"
dotnet build src/Local "${build[@]}"
dotnet pack src/Microsoft.ML.Distributed "${build[@]}" --no-build -o "$packages" "${baseline[@]}"
dotnet build src/Microsoft.ML.Distributed.TorchSharp "${build[@]}"
dotnet pack src/Microsoft.ML.Distributed.TorchSharp "${build[@]}" --no-build -o "$packages"
dotnet build src/Microsoft.ML.Distributed.Text "${build[@]}"
dotnet pack src/Microsoft.ML.Distributed.Text "${build[@]}" --no-build -o "$packages"
dotnet build src/Microsoft.ML.Distributed.Images "${build[@]}"
dotnet pack src/Microsoft.ML.Distributed.Images "${build[@]}" --no-build -o "$packages"
for project in Local.linux-x64 Local Cli; do
  dotnet pack "src/$project" "${build[@]}" --no-build -o "$packages" -p:LeaveLibtorchOut=true
done

version=$(basename "$packages"/MLDistributed.Local.linux-x64.*.nupkg .nupkg)
version=${version#MLDistributed.Local.linux-x64.}
# NuGet would go on with what it unpacked of this version before.
cache=$(dotnet nuget locals global-packages --list | sed 's/^[^:]*: //')
for id in mldistributed mldistributed.text mldistributed.torchsharp mldistributed.images mldistributed.local mldistributed.local.linux-x64 mldist; do
  rm -rf "${cache:?}/$id/$version"
done
echo "Packed version $version. In an app's folder:"
echo "    dotnet nuget add source $packages --name mldistributed"
echo "    dotnet add package MLDistributed.Local"
