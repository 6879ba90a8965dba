#!/usr/bin/env bash
# Builds everything, runs the tests and prints, last, one line with the counts.
#   ./test.sh              all tests
#   ./test.sh --quick      without the slow ones (under 3 minutes)
#   ./test.sh Training     only the test projects whose name has this in it
set -uo pipefail
cd "$(dirname "$0")"

filter=() only="" configuration=${CONFIGURATION:-Release}
for argument in "$@"; do
  case "$argument" in
    --quick) filter=(--filter "TestCategory!=Slow") ;;
    --*) echo "test.sh: $argument is not known; --quick or a part of a project's name" >&2; exit 2 ;;
    *) only=$argument ;;
  esac
done

dotnet build MLDistributed.sln -c "$configuration" --nologo -v quiet || { echo "0 passed, 1 failed"; exit 1; }

results=$PWD/artifacts/test-results
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0 beside=""
run() {
  "artifacts/bin/$1/${configuration,,}/$1" --report-trx --report-trx-filename "$1.trx" --results-directory "$results" \
    --progress off --timeout 30m "${filter[@]}"
}

for project in test/*.Tests; do
  name=$(basename "$project")
  [[ $name == *"$only"* ]] || continue
  # The one waits most of its time, the other compiles: side by side they take little longer than the longer one.
  if [[ $name == Cluster.Tests && -z $only ]]; then
    set -m # a group of its own, whose tests of Ctrl-C get it
    run Packages.Tests >"$results/Packages.Tests.out" 2>&1 &
    beside=$!
    set +m
    trap '[[ -z $beside ]] || kill -TERM -- "-$beside"' EXIT
    trap 'exit 130' INT TERM
  fi
  echo "== $name"
  if [[ $name == Packages.Tests && -n $beside ]]; then
    wait "$beside"
    status=$?
    beside=""
    cat "$results/Packages.Tests.out"
  else
    run "$name"
    status=$?
  fi
  counters=$(grep -o '<Counters [^>]*' "$results/$name.trx" 2>/dev/null)
  count() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<<"$counters"; }
  if [[ -z $counters ]]; then
    echo "$name ended with $status and left no results"
    failed=$((failed + 1))
    continue
  fi
  bad=$(($(count failed) + $(count error) + $(count timeout) + $(count aborted)))
  passed=$((passed + $(count passed)))
  failed=$((failed + bad))
  skipped=$((skipped + $(count total) - $(count passed) - bad))
  # 8: no test matched the filter.
  if [[ $status -ne 0 && $status -ne 8 && $bad -eq 0 ]]; then
    echo "$name ended with $status though no test failed"
    failed=$((failed + 1))
  fi
done

# What was skipped, and why.
grep -ho 'Assert.Inconclusive[^<]*' "$results"/*.trx 2>/dev/null | sort | uniq -c | sed 's/^/skipped: /'
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 && $passed -gt 0 ]]
