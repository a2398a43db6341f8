//! Which node was the active one of its home when, and in which term: the checker of roles.
//!
//! In: the role that each node has come to have, what it heard of its twin, deaths, and disks that were lost. Out: what of
//! that must not be.
//!
//! # The rule
//! A node that becomes active does so in a term that is greater than all that it was active in before, and than all that it
//! has heard of, with the disk that it has. It keeps the term for as long as it is active. One that goes by commands resumes
//! after a restart the term that it had, and only that one.

use sipfed_nodes::ownership::{Mode, Role};

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// In force, while the node runs.
    role: Option<Role>,
    /// The greatest term that it was active in, and the greatest that it has heard of, with this disk.
    greatest: u64,
    heard: u64,
    /// The term in which it was active when it died.
    resumable: Option<u64>,
    /// When it was active last, before it became passive.
    active_until: u64,
}

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Stints(Vec<Record>);

impl Stints {
    /// Of so many nodes, none of which runs.
    pub(crate) fn new(nodes_count: usize) -> Self {
        Self(vec![Record::default(); nodes_count])
    }

    pub(crate) fn died(&mut self, node: usize, at: u64) {
        let record = &mut self.0[node];
        if let Some(role) = record.role.take().filter(|role| role.is_active) {
            record.resumable = Some(role.term);
            record.active_until = at;
        }
    }

    pub(crate) fn disk_lost(&mut self, node: usize) {
        let record = &mut self.0[node];
        (record.greatest, record.heard, record.resumable) = (0, 0, None);
    }

    /// The twin of a node has said its term.
    pub(crate) fn heard(&mut self, node: usize, term: u64) {
        self.0[node].heard = self.0[node].heard.max(term);
    }

    /// What is wrong with the role that a node has now; and whether it has become active.
    pub(crate) fn is(&mut self, node: usize, role: Role, mode: Mode, at: u64) -> (Option<String>, bool) {
        let record = &mut self.0[node];
        let before = record.role.replace(role);
        // One without a twin has no terms.
        if before == Some(role) || role == Role::ALONE {
            return (None, false);
        }
        let was_active = before.is_some_and(|before| before.is_active);
        if !role.is_active {
            if was_active {
                record.active_until = at;
            }
            record.resumable = None;
            return (None, false);
        }
        let Role { term, .. } = role;
        let (greatest, heard) = (record.greatest, record.heard);
        let is_resumed = mode == Mode::Command && record.resumable.take() == Some(term);
        record.greatest = greatest.max(term);
        if was_active {
            let before = before.map_or(0, |before| before.term);
            return (Some(format!("goes from term {before} to {term} while it is active")), false);
        }
        let is_late = term > greatest && term > heard;
        let wrong = (!is_late && !is_resumed).then(|| {
            format!("becomes active in term {term} after its own {greatest} and the {heard} that it has heard of")
        });
        (wrong, true)
    }

    /// Whether a node is the active one, or was within `ms`.
    pub(crate) fn is_active_within(&self, node: usize, at: u64, ms: u64) -> bool {
        let record = &self.0[node];
        record.role.is_some_and(|role| role.is_active) || record.active_until + ms >= at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn active(term: u64) -> Role {
        Role { is_active: true, term }
    }

    const fn passive(term: u64) -> Role {
        Role { is_active: false, term }
    }

    #[test]
    fn a_term_that_is_not_the_latest_is_wrong() {
        let mut stints = Stints::new(1);
        let mut is_wrong = |role, mode| stints.is(0, role, mode, 5).0.is_some();
        assert!(!is_wrong(active(1), Mode::Address));
        assert!(is_wrong(active(2), Mode::Address), "while it is active");
        assert!(!is_wrong(passive(2), Mode::Address));
        assert!(is_wrong(active(2), Mode::Address), "a second time");
        stints.is(0, passive(2), Mode::Address, 6);
        stints.heard(0, 9);
        assert!(stints.is(0, active(9), Mode::Address, 6).0.is_some(), "its twin had it");
        assert!(stints.is_active_within(0, 7, 0));
    }

    #[test]
    fn only_who_goes_by_commands_resumes_a_term() {
        for (mode, is_wrong) in [(Mode::Address, true), (Mode::Command, false)] {
            let mut stints = Stints::new(1);
            stints.is(0, active(3), mode, 0);
            stints.died(0, 10);
            assert!(!stints.is_active_within(0, 21, 10));
            assert_eq!(stints.is(0, active(3), mode, 20).0.is_some(), is_wrong);
        }
        let mut stints = Stints::new(1);
        stints.is(0, active(3), Mode::Command, 0);
        stints.died(0, 10);
        stints.disk_lost(0);
        assert_eq!(stints.is(0, active(1), Mode::Command, 20), (None, true));
    }
}
