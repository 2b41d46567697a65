#!/usr/bin/env bash
# The long form of every layer of tests: `tests/nightly.sh HOURS [NAME..]`. The hours are divided among the layers by their
# shares below, as many side by side as there are processors; each layer says what it reached, with the seed that repeats
# it. Needs what .ci/run needs. Logs are in target/nightly; ends with the list of what was reached, and fails if a layer did.
set -euo pipefail
cd "$(dirname "$0")/.."
hours=${1:?"usage: tests/nightly.sh HOURS [NAME..]"}
shift
lanes=$(nproc)
logs=target/nightly
export CARGO_TERM_COLOR=never

# Share, name, command; SECONDS stands for its part of the time. The longest come first, so that the lanes end together.
layers() {
    local test="cargo test -q --release --features sim"
    cat <<LAYERS
24 crash-states     $test --test crash_states -- --nocapture --exact no_crash_loses_what_was_acknowledged_or_finds_damage_where_there_is_none
16 kill-9           $test --test kill -- --nocapture --exact what_was_acknowledged_survives_kill_9_whole_in_order_and_once
8 model             $test --test model -- --nocapture --exact what_is_read_is_what_was_appended_whatever_happened_between
8 long-lives        $test --test model -- --nocapture --exact a_long_life_keeps_every_promise_to_its_end
4 sessions          $test --test session_model -- --nocapture --exact whatever_happens_a_session_reads_what_comes_next
3 filters           $test --test filter -- --nocapture --exact a_reader_with_a_filter_returns_what_passes_of_what_one_without_returns
3 filtered-damage   $test --test filter -- --nocapture --exact whatever_passes_and_is_damaged_lies_in_a_gap
20 filter_parse     fuzz/run SECONDS filter_parse
12 metadata_decode  fuzz/run SECONDS metadata_decode
10 name_codec       fuzz/run SECONDS name_codec
6 cursor_decode     fuzz/run SECONDS cursor_decode
4 frame_parse       fuzz/run SECONDS frame_parse
8 store_ops         fuzz/run SECONDS store_ops
6 diff_reader       fuzz/run SECONDS diff_reader
3 segment_recover   fuzz/run SECONDS segment_recover
3 filter            fuzz/run SECONDS filter
2 recover_diff      fuzz/run SECONDS recover_diff
2 frame_fix         fuzz/run SECONDS frame_fix
1 frame_raw         fuzz/run SECONDS frame_raw
1 index_decode      fuzz/run SECONDS index_decode
LAYERS
}

run_layer() { # seconds, name, command
    local seconds=$1 name=$2 began=$SECONDS
    local command=${3//SECONDS/$seconds}
    if TAILWATER_SECONDS=$seconds bash -c "$command" >"$logs/$name.log" 2>&1; then
        echo "$(date +%T) $name: done in $((SECONDS - began)) s"
    else
        echo "$(date +%T) $name: FAILED after $((SECONDS - began)) s, see $logs/$name.log"
        touch "$logs/$name.failed"
    fi
}
export -f run_layer
export logs

rm -rf "$logs"
mkdir -p "$logs"
chosen=$(layers)
if [ $# -gt 0 ]; then
    chosen=$(awk -v names=" $* " 'index(names, " " $2 " ")' <<<"$chosen")
fi
[ -n "$chosen" ] || { echo "no layer is called: $*"; exit 2; }

echo "== building"
tests=$(grep -o -- '--test [a-z_]*' <<<"$chosen" | sort -u || true)
# shellcheck disable=SC2086
if [ -n "$tests" ]; then cargo test -q --release --features sim --no-run $tests; fi
if grep -q fuzz/run <<<"$chosen"; then fuzz/run 1 >/dev/null; fi

echo "== $hours hours, $lanes side by side, from $(date '+%F %T') on, commit $(git rev-parse --short HEAD)"
began=$SECONDS
shares=$(awk '{ sum += $1 } END { print sum }' <<<"$chosen")
sort -rn <<<"$chosen" | while read -r share name command; do
    seconds=$(awk -v h="$hours" -v l="$lanes" -v s="$share" -v all="$shares" 'BEGIN { print int(h * 3600 * l * s / all) }')
    printf '%s\0%s\0%s\0' "$seconds" "$name" "$command"
done | xargs -0 -n 3 -P "$lanes" bash -c 'run_layer "$@"' _

echo "== reached in $((SECONDS - began)) s"
grep -h '^reached: ' "$logs"/*.log | sort || true
grep -H '^skipped: ' "$logs"/*.log | sort -u || true
failed=$(find "$logs" -name '*.failed' | wc -l)
echo "== layers that failed: $failed"
[ "$failed" = 0 ]
