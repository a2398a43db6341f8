//! Response times, measured from when a request was meant to be sent.
//!
//! A generator that waits while the server stalls, and then measures from when it got round to sending, leaves
//! out the very waits that matter (coordinated omission). An open loop here keeps its schedule and takes each
//! response time from the scheduled instant, so a stall shows in every request that fell into it.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is told apart: 60 s.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A histogram of response times, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

/// The usual quantiles, each in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// Median.
    pub(crate) p50: f64,
    /// 99 of 100 are at most this.
    pub(crate) p99: f64,
    /// 999 of 1,000 are at most this.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Latencies {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self { histogram: histogram.expect("the bounds are constants in hdrhistogram's range") }
    }

    /// Counts a request that was meant to be sent at `intended_ns` and answered at `answered_ns`.
    pub(crate) fn record(&mut self, intended_ns: u64, answered_ns: u64) {
        self.histogram.saturating_record(answered_ns.saturating_sub(intended_ns).max(1));
    }

    /// Counts those of another one as well.
    pub(crate) fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The usual quantiles.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: self.histogram.max() as f64 / 1000.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Schedule;

    #[test]
    fn a_stall_shows_in_every_request_that_fell_into_it() {
        // 1,000 requests a second for 10 s; the server answers within 1 ms, but stands still from 5 s to 6 s.
        let (schedule, mut latencies) = (Schedule::new(1000), Latencies::new());
        for number in 0..10_000 {
            let due_ns = schedule.due_ns(number);
            let answered_ns = match due_ns {
                5_000_000_000..6_000_000_000 => 6_000_000_000,
                _ => due_ns + 1_000_000,
            };
            latencies.record(due_ns, answered_ns);
        }
        let quantiles = latencies.quantiles();
        assert!((quantiles.p50 - 1000.0).abs() < 2.0, "{quantiles:?}");
        // A tenth of the requests waited up to a second: 99 of 100 waited at most 900 ms.
        assert!((quantiles.p99 - 900_000.0).abs() < 2_000.0, "{quantiles:?}");
        assert!((quantiles.max - 1_000_000.0).abs() < 2_000.0, "{quantiles:?}");
    }

    #[test]
    fn times_beyond_the_range_count_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(0, u64::MAX);
        latencies.record(5, 3);
        assert_eq!(latencies.count(), 2);
    }
}
