//! The logs of a node as bytes: what is kept of each shard's journal, and what becomes of it at a start.
//!
//! A model of the daemon's log with `process` durability: what a turn has appended survives the death of the process. A log
//! is a row of generations, each as long as a binding may live; one that ended that long ago is dropped.

use sipfed_proto::{BadEntry, Now, Outbox, Place, Settings, Shard, ShardIndex};
use std::sync::Arc;

/// Seconds beyond the longest life of a binding that a generation is kept, as in the daemon.
const MARGIN_S: u32 = sipfed_proto::limits::REMOVED_REMEMBERED_S + 2;

#[derive(Clone, Debug)]
struct Generation {
    began_s: u32,
    bytes: Vec<u8>,
}

/// That of one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardLog {
    generations: Vec<Generation>,
    /// When the last binding ends that came back at the start.
    restored_until_s: u32,
}

impl ShardLog {
    fn new(began_s: u32) -> Self {
        Self { generations: vec![Generation { began_s, bytes: Vec::new() }], restored_until_s: 0 }
    }

    /// Begins a generation where one is due, and drops what nothing needs any more.
    pub(crate) fn look_after_generations(&mut self, lasts_s: u32, machine: &mut Shard, now: Now) {
        let now_s = now.unix_s();
        if self.generations.last().is_some_and(|last| last.began_s + lasts_s <= now_s) {
            self.generations.push(Generation { began_s: now_s, bytes: Vec::new() });
            machine.keep_journal(Now::from_unix_ms(u64::from(now_s) * 1000));
        }
        let is_over = |two: &[Generation]| two[1].began_s + lasts_s + MARGIN_S <= now_s;
        let over = self.generations.windows(2).take_while(|two| is_over(two)).count();
        if self.restored_until_s <= now_s {
            self.generations.drain(..over);
        }
    }

    /// A turn has ended.
    pub(crate) fn append(&mut self, journal: &[u8]) {
        if let Some(last) = self.generations.last_mut() {
            last.bytes.extend_from_slice(journal);
        }
    }

    fn read_into(&self, machine: &mut Shard) -> Result<(), BadEntry> {
        for generation in &self.generations {
            machine.restore(&generation.bytes)?;
        }
        Ok(())
    }

    /// How many generations there are.
    pub(crate) fn generations_count(&self) -> usize {
        self.generations.len()
    }
}

/// The logs of a node, by shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(pub(crate) Vec<ShardLog>);

impl Logs {
    /// Starts `count` shards with what is kept, which is written anew where other shards wrote it. With backups, what comes
    /// back is remembered for them from the first moment on.
    pub(crate) fn start(
        &mut self,
        settings: &Arc<Settings>,
        count: u8,
        secret: [u8; 32],
        has_backups: bool,
        now: Now,
    ) -> Result<Vec<Shard>, BadEntry> {
        let shard = |index| Shard::new(Arc::clone(settings), Place { index: ShardIndex(index), count }, secret, now);
        if self.0.is_empty() {
            self.0 = vec![ShardLog::new(now.unix_s()); usize::from(count)];
        } else if self.0.len() != usize::from(count) {
            let rewritten = (0..count).map(|index| {
                let mut machine = shard(index);
                for log in &self.0 {
                    log.read_into(&mut machine)?;
                }
                let mut log = ShardLog::new(now.unix_s());
                machine.keep_journal(Now::from_unix_ms(u64::from(now.unix_s()) * 1000));
                let mut from = Some(0);
                while let Some(next) = from {
                    from = machine.write_down_all(next, 4096);
                    log.append(machine.journal());
                    machine.clear_journal();
                }
                Ok(log)
            });
            self.0 = rewritten.collect::<Result<_, BadEntry>>()?;
        }
        let started = self.0.iter_mut().enumerate().map(|(index, log)| {
            let mut machine = shard(index as u8);
            if has_backups {
                machine.keep_backups();
            }
            log.read_into(&mut machine)?;
            let mut out = Outbox::new();
            while machine.next_deadline().is_some_and(|deadline| deadline <= now) {
                machine.handle_timeout(now, &mut out);
            }
            log.restored_until_s = machine.last_expiry_s();
            let began_s = log.generations.last().map_or(0, |last| last.began_s);
            machine.keep_journal(Now::from_unix_ms(u64::from(began_s) * 1000));
            Ok(machine)
        });
        started.collect()
    }
}
