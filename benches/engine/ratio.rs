//! An operation measured by criterion, with its limit beside it.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode};

/// Measures `operation`, and before each sample of it as many of `limit`. Both do a thing as many times as they are
/// told and return how long that took.
pub fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut limit: impl FnMut(u64) -> Duration,
    mut operation: impl FnMut(u64) -> Duration,
) {
    let mut samples = Vec::new();
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let limit = limit(times);
            let operation = operation(times);
            samples.push((limit.as_secs_f64() / times as f64, operation.as_secs_f64() / times as f64));
            operation
        });
    });
    // Criterion warms up with few of each, then takes its samples; where a filter left this out there are none.
    let samples = &samples[samples.len().saturating_sub(10)..];
    if samples.is_empty() {
        return;
    }
    let mut ratios: Vec<_> = samples.iter().map(|(limit, operation)| operation / limit).collect();
    let mut limits: Vec<_> = samples.iter().map(|(limit, _)| limit * 1e9).collect();
    ratios.sort_by(f64::total_cmp);
    limits.sort_by(f64::total_cmp);
    let (ratio, limit) = (ratios[ratios.len() / 2], limits[limits.len() / 2]);
    let [lowest, highest] = [ratios[0], ratios[ratios.len() - 1]];
    println!("{:24}limit: {limit:.1} ns; ratio: {ratio:.2} ({lowest:.2} .. {highest:.2})\n", "");
}
