#!/usr/bin/env bash
# Makes the secret by which workers join: deploy/kubernetes/join.sh SECRET COUNT FINGERPRINT
# One-time tokens, valid for a year, and the coordinator's fingerprint, which its log repeats at every start.
set -euo pipefail
[[ $# -eq 3 ]] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
secret=$1 count=$2 fingerprint=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf %s "$fingerprint" > "$folder/fingerprint"
kubectl exec mldist-coordinator-0 -- dotnet /app/mldist.dll tokens create --data /data/mldist --count "$count" --valid-hours 8760 > "$folder/tokens"
[[ $(wc -l < "$folder/tokens") -eq $count ]] || { echo "join.sh: the coordinator made no $count tokens" >&2; exit 1; }
index=0
while read -r token; do
  printf %s "$token" > "$folder/token-$index"
  index=$((index + 1))
done < "$folder/tokens"
rm "$folder/tokens"
kubectl create secret generic "$secret" --from-file="$folder"
