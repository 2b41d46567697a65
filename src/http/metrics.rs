//! What is counted, in Prometheus' text form: requests as they are answered, and the store's figures when somebody asks.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use crate::sync::Mutex;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::{Failure, Shared};

/// Upper ends of the buckets of the latency histogram, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Requests, by what was asked and how it was answered.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(Route, u16), u64>>,
    latencies: Mutex<BTreeMap<Route, Histogram>>,
}

/// Method and path as the router knows them: a label that no client can make more of.
type Route = (&'static str, String);

#[derive(Debug, Clone, Copy, Default)]
struct Histogram {
    /// How many fell in each bucket, and in none.
    counts: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        let bucket = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        self.counts[bucket] += 1;
        self.seconds += seconds;
    }
}

impl Metrics {
    fn add(&self, route: Route, status: u16, took: Duration) {
        *self.requests.lock().entry((route.clone(), status)).or_default() += 1;
        self.latencies.lock().entry(route).or_default().add(took.as_secs_f64());
    }

    /// Writes what was counted.
    pub(super) fn print(&self, text: &mut Text) {
        text.head("tailwater_http_requests_total", "counter", "Requests answered.");
        for (((method, path), status), count) in &*self.requests.lock() {
            let status = status.to_string();
            let labels = [("method", *method), ("route", path), ("status", &status)];
            text.sample("tailwater_http_requests_total", &labels, count);
        }
        let name = "tailwater_http_request_seconds";
        text.head(name, "histogram", "Time until a request's answer began.");
        for ((method, path), histogram) in &*self.latencies.lock() {
            let mut count = 0;
            for (bucket, end) in histogram.counts.iter().zip(BUCKETS.into_iter().chain([f64::INFINITY])) {
                count += bucket;
                let end = if end.is_finite() { end.to_string() } else { "+Inf".to_owned() };
                let labels = [("method", *method), ("route", path), ("le", &end)];
                text.sample(&format!("{name}_bucket"), &labels, count);
            }
            let labels = [("method", *method), ("route", path.as_str())];
            text.sample(&format!("{name}_sum"), &labels, histogram.seconds);
            text.sample(&format!("{name}_count"), &labels, count);
        }
    }
}

/// Counts one request and its answer, and reports what the answer does not tell.
pub(super) async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let route = (method(request.method()), path);
    let begun = Instant::now();
    let response = next.run(request).await;
    shared.metrics.add(route, response.status().as_u16(), begun.elapsed());
    if let Some(Failure(err)) = response.extensions().get() {
        (shared.report)(err);
    }
    response
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// Metrics, as Prometheus reads them.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a metric.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a sample to the metric begun.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0 += name;
        for (index, (key, label)) in labels.iter().enumerate() {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{label}\"", if index == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// One number, without labels.
    pub(super) fn number(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_printed_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.add(("GET", "/healthz".into()), 200, Duration::from_millis(2));
        metrics.add(("GET", "/healthz".into()), 200, Duration::from_secs(60));
        let mut text = Text::default();
        metrics.print(&mut text);
        text.number("up", "gauge", "Whether.", 1);
        text.sample("odd", &[("a", "b\"\\\nc")], 0.5);
        let text = text.into_string();
        for line in [
            "# TYPE tailwater_http_requests_total counter",
            "tailwater_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 2",
            "tailwater_http_request_seconds_bucket{method=\"GET\",route=\"/healthz\",le=\"0.001\"} 0",
            "tailwater_http_request_seconds_bucket{method=\"GET\",route=\"/healthz\",le=\"0.0025\"} 1",
            "tailwater_http_request_seconds_bucket{method=\"GET\",route=\"/healthz\",le=\"30\"} 1",
            "tailwater_http_request_seconds_bucket{method=\"GET\",route=\"/healthz\",le=\"+Inf\"} 2",
            "tailwater_http_request_seconds_sum{method=\"GET\",route=\"/healthz\"} 60.002",
            "tailwater_http_request_seconds_count{method=\"GET\",route=\"/healthz\"} 2",
            "up 1",
            "odd{a=\"b\\\"\\\\\\nc\"} 0.5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
