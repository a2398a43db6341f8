//! The shards as commands see them: asked one at a time or all together, and never waited for without an end.

use super::answer::Fault;
use sipfed_proto::Refusal;
use sipfed_shards::{Administration, Command, Reply, ShardReport};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All shards of the node. A copy asks the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Shards(Administration);

impl Shards {
    pub(crate) fn new(administration: Administration) -> Self {
        Self(administration)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.shards_count()
    }

    /// The shard that owns a canonical AoR.
    pub(crate) fn owner(&self, aor: &[u8]) -> usize {
        self.0.owner(aor)
    }

    /// Asks one of them.
    pub(crate) async fn ask<T>(&self, shard: usize, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Fault>
    where
        T: Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let reply = Reply::new(move |answer| {
            // Whoever asked may have given up.
            let _ = sender.send(answer);
        });
        self.0.ask(shard, command(reply)).map_err(|_| {
            Fault::server(format!(
                "shard {shard} takes no command: too many wait there, or the node stops; ask again later"
            ))
        })?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Fault::server(format!("shard {shard} cannot say that it was done; look whether it was"))),
            Err(_) => Err(Fault::server(format!(
                "shard {shard} has not answered within {} s: it waits for the disk, or the node stops",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// [`Self::ask`] for what a shard may refuse.
    pub(crate) async fn change<T>(
        &self,
        shard: usize,
        command: impl FnOnce(Reply<Result<T, Refusal>>) -> Command,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
    {
        self.ask(shard, command).await?.map_err(|Refusal { status, reason }| match status {
            400 => Fault::bad_value(reason),
            status => Fault::new(status.into(), reason),
        })
    }

    /// The reports of all, in their order.
    pub(crate) async fn reports(&self) -> Result<Vec<ShardReport>, Fault> {
        let mut reports = Vec::with_capacity(self.count());
        for shard in 0..self.count() {
            reports.push(self.ask(shard, Command::Report).await?);
        }
        Ok(reports)
    }
}
