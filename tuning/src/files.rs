//! Open files: one for each connection, and some for each shard.

use crate::{Facts, Finding, Needs, Verdict};
use std::num::NonZeroU32;

/// Descriptors that a shard needs beside its connections and listeners: rings, wake-ups, queues.
const FILES_PER_SHARD: u64 = 32;
/// Descriptors that the process needs beside its shards: standard streams, signals, logs, libraries.
const FILES_OF_PROCESS: u64 = 64;

fn without_connections(needs: &Needs) -> u64 {
    FILES_OF_PROCESS + u64::from(needs.shards) * (FILES_PER_SHARD + needs.listen.len() as u64)
}

/// What the limit has to be for every configured connection.
pub(crate) fn needed(needs: &Needs) -> u64 {
    without_connections(needs) + u64::from(needs.shards) * u64::from(needs.connections_per_shard_max)
}

pub(crate) fn connections_per_shard(facts: &Facts, needs: &Needs) -> Option<NonZeroU32> {
    let spare = facts.open_files.soft.saturating_sub(without_connections(needs));
    let fits = spare / u64::from(needs.shards.max(1));
    NonZeroU32::new(u32::try_from(fits).unwrap_or(u32::MAX).min(needs.connections_per_shard_max))
}

pub(crate) fn decide(facts: &Facts, needs: &Needs) -> Verdict {
    let (limit, needed) = (facts.open_files.soft, needed(needs));
    if limit >= needed {
        return Verdict::Fine;
    }
    match connections_per_shard(facts, needs) {
        None => Verdict::Fatal(Finding::new(
            format!(
                "this process may open {limit} files (RLIMIT_NOFILE); {} shards need more than {} before the first connection",
                needs.shards,
                without_connections(needs)
            ),
            mend(needed),
        )),
        Some(fits) => Verdict::Warning(Finding::new(
            format!(
                "this process may open {limit} files (RLIMIT_NOFILE), too few for {} shards with {} connections each (tcp.connections_per_shard_max): {fits} a shard will be accepted",
                needs.shards, needs.connections_per_shard_max
            ),
            mend(needed),
        )),
    }
}

/// How the limit is raised to `files`, for each way of starting a process.
pub(crate) fn mend(files: u64) -> String {
    format!(
        "ulimit -n {files}   # in this shell, up to its hard limit; as root: prlimit --pid $$ --nofile={files}:{files}\n\
         LimitNOFILE={files}   # in the [Service] section of the systemd unit\n\
         docker run --ulimit nofile={files}:{files} ..."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limit;

    fn facts(soft: u64) -> Facts {
        Facts { open_files: Limit { soft, hard: soft }, ..Facts::of_a_good_host() }
    }

    fn needs() -> Needs {
        Needs { shards: 2, connections_per_shard_max: 1000, ..Needs::small() }
    }

    #[test]
    fn exactly_enough_is_fine() {
        assert_eq!(needed(&needs()), 64 + 2 * 32 + 2000);
        assert_eq!(decide(&facts(2128), &needs()), Verdict::Fine);
        assert_eq!(connections_per_shard(&facts(1 << 40), &needs()), NonZeroU32::new(1000));
    }

    #[test]
    fn too_few_files_are_a_warning_that_names_what_is_left() {
        let Verdict::Warning(finding) = decide(&facts(1024), &needs()) else { panic!("no warning") };
        assert!(finding.what.ends_with("448 a shard will be accepted"), "{}", finding.what);
        assert!(finding.mend.contains("LimitNOFILE=2128 "), "{}", finding.mend);
        assert_eq!(connections_per_shard(&facts(1024), &needs()), NonZeroU32::new(448));
    }

    #[test]
    fn no_room_for_the_shards_themselves_is_fatal() {
        assert!(matches!(decide(&facts(100), &needs()), Verdict::Fatal(_)));
        assert_eq!(connections_per_shard(&facts(100), &needs()), None);
    }
}
