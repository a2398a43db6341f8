//! What has happened: a digest of all of it, and the last of it in words.

use std::collections::VecDeque;
use std::fmt;

/// Events that are kept in words.
const KEPT_COUNT: usize = 50;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct History {
    digest: u64,
    events_count: u64,
    last: VecDeque<String>,
    /// Whether every event is printed as it happens.
    is_told: bool,
}

impl History {
    pub(crate) fn new(is_told: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, events_count: 0, last: VecDeque::new(), is_told }
    }

    /// Something has happened.
    pub(crate) fn note(&mut self, at_ms: u64, what: fmt::Arguments<'_>) {
        let line = format!("{:>3}.{:03} {what}", at_ms / 1000, at_ms % 1000);
        if self.is_told {
            println!("{line}");
        }
        // FNV-1a: a digest that nobody has an interest in forging.
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events_count += 1;
        if self.last.len() == KEPT_COUNT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn events_count(&self) -> u64 {
        self.events_count
    }

    /// The last events, oldest first.
    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
