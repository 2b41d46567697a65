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

# Share, name, command; SECONDS stands for its part of the time. The longest come first, so that the lanes end together. What is
# exhaustive (`flips`, `damage`, `mutants`) goes to its end, whatever its part is.
layers() {
    local test="cargo test -q --release --features sim"
    cat <<LAYERS
16 crash-states     $test --test crash_states -- --nocapture --exact no_crash_loses_what_was_acknowledged_or_finds_damage_where_there_is_none
12 kill-9           $test --test kill -- --nocapture --exact what_was_acknowledged_survives_kill_9_whole_in_order_and_once
6 model            $test --test model -- --nocapture --exact what_is_read_is_what_was_appended_whatever_happened_between
6 long-lives       $test --test model -- --nocapture --exact a_long_life_keeps_every_promise_to_its_end
6 system-calls     $test --test sweep
4 followers        $test --test followers -- --nocapture --exact followers_see_each_record_once_while_the_writer_is_killed_and_recovers
3 sessions         $test --test session_model -- --nocapture --exact whatever_happens_a_session_reads_what_comes_next
2 filters          $test --test filter -- --nocapture --exact a_reader_with_a_filter_returns_what_passes_of_what_one_without_returns
2 filtered-damage  $test --test filter -- --nocapture --exact whatever_passes_and_is_damaged_lies_in_a_gap
4 flips            $test --test flips -- --nocapture
2 damage           $test --test damage -- --nocapture
1 bursts           $test --lib -- --nocapture bursts_of_3_to_32_flipped_bits_are_noticed
5 schedules        tests/schedules
5 mutants          tests/mutants
2 sanitize         tests/sanitize
10 filter_parse     fuzz/run SECONDS filter_parse
8 metadata_decode  fuzz/run SECONDS metadata_decode
5 name_codec       fuzz/run SECONDS name_codec
4 cursor_decode    fuzz/run SECONDS cursor_decode
3 frame_parse      fuzz/run SECONDS frame_parse
14 store_ops        fuzz/run SECONDS store_ops
8 diff_reader      fuzz/run SECONDS diff_reader
3 segment_recover  fuzz/run SECONDS segment_recover
2 filter           fuzz/run SECONDS filter
2 recover_diff     fuzz/run SECONDS recover_diff
2 frame_fix        fuzz/run SECONDS frame_fix
1 frame_raw        fuzz/run SECONDS frame_raw
1 index_decode     fuzz/run SECONDS index_decode
1 address-frame_raw TAILWATER_FUZZ_SANITIZER=address fuzz/run SECONDS frame_raw
1 address-frame_fix TAILWATER_FUZZ_SANITIZER=address fuzz/run SECONDS frame_fix
1 address-segment_recover TAILWATER_FUZZ_SANITIZER=address fuzz/run SECONDS segment_recover
1 address-diff_reader TAILWATER_FUZZ_SANITIZER=address fuzz/run SECONDS diff_reader
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
tests=$(grep -oE -- '--(test [a-z_]+|lib)' <<<"$chosen" | sort -u || true)
# shellcheck disable=SC2086
if [ -n "$tests" ]; then cargo test -q --release --features sim --no-run $tests; fi
if grep -q ' fuzz/run' <<<"$chosen"; then fuzz/run 1 >/dev/null; fi

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
