//! A process that dies while it appends.

use crate::child::{Player, tell};
use crate::place::{NOW_S, Opened, Place, options};
use sipfed_log::Event;
use std::path::Path;

/// Lives of the process on one log.
const ROUNDS: u64 = 12;

/// The child: appends for ever, and tells each sequence once it has it. Generations start and end under way.
pub(crate) fn append(folder: &Path) {
    let mut opened = Opened::new(folder, options());
    loop {
        let sequence = opened.append(1);
        tell(sequence);
        if sequence.0.is_multiple_of(300) {
            // The keeper may be busy with the one before.
            let _ = opened.log.start_generation(NOW_S + sequence.0);
        }
        while let Some(event) = opened.log.poll() {
            if let Event::GenerationStarted(started) = event {
                let _ = opened.log.drop_generations_that_ended(started.number.saturating_sub(20));
            }
        }
    }
}

#[test]
fn every_acknowledged_entry_survives_a_kill() {
    let place = Place::new();
    let folder = place.at("shard-0");
    for round in 0..ROUNDS {
        let mut child = Player::play("append", &folder);
        let mut acknowledged = 0;
        // Some lives end at once, some after several generations.
        for _ in 0..=round * 211 {
            acknowledged = child.line().unwrap().parse().unwrap();
        }
        if let Some(last) = child.kill().iter().rev().find_map(|line| line.parse().ok()) {
            acknowledged = last;
        }
        let opened = Opened::new(&folder, options());
        assert!(opened.report.given_up.is_empty());
        let (found, _) = opened.read();
        assert!(opened.report.last.0 >= acknowledged, "{} of {acknowledged} are there", opened.report.last);
        assert_eq!(found.last(), Some(&opened.report.last.0));
        assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
        let oldest = opened.log.generations()[0].number;
        assert!(oldest > 1 || found[0] == 1, "what is gone went with its generation");
    }
}
