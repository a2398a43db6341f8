//! Which counters of refusals and drops rose since they were last looked at.

use sipfed_proto::Counters;
use sipfed_proto::counters::Kind;
use sipfed_shards::ShardReport;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By shard number; a shard that did not report in time keeps what it last said.
    seen: Vec<Counters>,
}

impl Watch {
    /// The counters that rose over all shards, each by how much; `None` when none did.
    pub(super) fn look(&mut self, reports: &[ShardReport]) -> Option<Vec<(&'static str, u64)>> {
        let before = self.total();
        for report in reports {
            let shard = usize::from(report.shard.0);
            if self.seen.len() <= shard {
                self.seen.resize(shard + 1, Counters::default());
            }
            self.seen[shard] = report.counters;
        }
        let after = self.total();
        let rose: Vec<_> = after
            .iter()
            .zip(before.iter())
            .filter(|((_, kind, _), _)| *kind != Kind::Work)
            .map(|((name, _, after), (_, _, before))| (name, after.saturating_sub(before)))
            .filter(|(_, rose)| *rose > 0)
            .collect();
        (!rose.is_empty()).then_some(rose)
    }

    fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.seen.iter().for_each(|counters| total.add(counters));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_proto::ShardIndex;

    fn report(shard: u8, counters: &Counters) -> ShardReport {
        ShardReport {
            shard: ShardIndex(shard),
            counters: *counters,
            bindings: 0,
            contacts: 0,
            homes: 0,
            open_transactions: 0,
            connections: 0,
            log: None,
        }
    }

    #[test]
    fn only_refusals_and_drops_that_rose_are_told() {
        let mut watch = Watch::default();
        let busy = Counters { received: 9, dropped_mesh_full: 2, ..Counters::default() };
        let refusing = Counters { received: 9, refused_overload: 5, ..Counters::default() };
        assert_eq!(
            watch.look(&[report(0, &busy), report(1, &refusing)]),
            Some(vec![("refused_overload", 5), ("dropped_mesh_full", 2)])
        );
        assert_eq!(watch.look(&[report(0, &busy), report(1, &refusing)]), None);
    }

    #[test]
    fn a_shard_that_did_not_report_rises_by_nothing_until_it_does() {
        let mut watch = Watch::default();
        let at = |dropped| Counters { dropped_unparsable: dropped, ..Counters::default() };
        watch.look(&[report(0, &at(1)), report(1, &at(10))]);
        assert_eq!(watch.look(&[report(0, &at(2))]), Some(vec![("dropped_unparsable", 1)]));
        assert_eq!(watch.look(&[report(0, &at(2)), report(1, &at(13))]), Some(vec![("dropped_unparsable", 3)]));
    }
}
