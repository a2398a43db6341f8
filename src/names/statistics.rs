//! What the thread that resolves names has done.

use sipfed_proto::names::{Kind, Resolved};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts, each under a name that says what rose.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    lookups_naptr: AtomicU64,
    lookups_srv: AtomicU64,
    lookups_address: AtomicU64,
    /// Names that lead to servers.
    resolved: AtomicU64,
    /// Names that lead nowhere.
    nothing: AtomicU64,
    /// Names that nobody could say anything of.
    failed: AtomicU64,
}

impl Statistics {
    /// Records of that type were asked for, of the servers or of what is remembered of their answers.
    pub(super) fn asked(&self, kind: Kind) {
        let count = match kind {
            Kind::Naptr => &self.lookups_naptr,
            Kind::Srv => &self.lookups_srv,
            Kind::A | Kind::Aaaa => &self.lookups_address,
        };
        count.fetch_add(1, Relaxed);
    }

    /// A name has come to this.
    pub(super) fn resolved(&self, resolved: &Resolved) {
        let count = match resolved {
            Resolved::Servers(..) => &self.resolved,
            Resolved::Nothing(_) => &self.nothing,
            Resolved::Failed => &self.failed,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Everything that is counted, by name.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("lookups_naptr", &self.lookups_naptr),
            ("lookups_srv", &self.lookups_srv),
            ("lookups_address", &self.lookups_address),
            ("resolved", &self.resolved),
            ("nothing", &self.nothing),
            ("failed", &self.failed),
        ];
        all.into_iter().map(|(name, count)| (name, count.load(Relaxed))).collect()
    }
}
