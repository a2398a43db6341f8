//! Runs simulations for as long as is wanted: `cargo run --release -p sipfed-sim -- --help`.

use clap::Parser;
use sipfed_sim::{Defect, Outcome, Profile, run_with};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// How often a run that goes by the clock says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_mins(1);

/// The seed that is played.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Simulates whole federations, seed after seed, and says which seed violates what.
#[derive(Debug, Parser)]
#[command(name = "sipfed-sim")]
struct Args {
    /// The only seed, or the first one [default: one from the time]
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds [default: 1 with --seed, else 100]
    #[arg(long)]
    seeds: Option<u64>,
    /// How long, instead of how many; parts of an hour too. Says every minute how far it is
    #[arg(long, value_parser = hours, conflicts_with = "seeds")]
    hours: Option<Duration>,
    /// One kind of run for all seeds [default: that of each seed]
    #[arg(long)]
    profile: Option<Profile>,
    /// Print every event
    #[arg(long)]
    trace: bool,
    /// Go on after a violation
    #[arg(long)]
    keep_going: bool,
}

/// Has a panic of the code under test name its seed.
fn tell_panics(profile: Option<Profile>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let seed = SEED.load(Relaxed);
        let name = profile.unwrap_or_else(|| Profile::of(seed)).name();
        println!("seed {seed}, {name}: panicked");
        println!("once more: cargo run --release -p sipfed-sim -- --seed {seed} --profile {name}");
    }));
}

fn main() -> ExitCode {
    let args = Args::parse();
    tell_panics(args.profile);
    let began = Instant::now();
    let first = args.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    });
    let count = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { 100 });
    let (mut done, mut failed) = (0, 0);
    let mut progress = Progress { next: PROGRESS_INTERVAL };
    while args.hours.map_or(done < count, |lasts| began.elapsed() < lasts) {
        let seed = first.wrapping_add(done);
        SEED.store(seed, Relaxed);
        let outcome: Outcome = run_with(seed, args.profile, Defect::None, args.trace);
        done += 1;
        let has_failed = !outcome.violations.is_empty();
        failed += u64::from(has_failed);
        if has_failed || count == 1 && args.hours.is_none() {
            println!("{outcome}");
        }
        if has_failed && !args.keep_going {
            break;
        }
        let elapsed = began.elapsed();
        if args.hours.is_some() && progress.is_due(elapsed) {
            println!(
                "{} min: {done} seeds, {failed} failed; {} is next",
                elapsed.as_secs() / 60,
                first.wrapping_add(done)
            );
        }
    }
    println!("{done} seeds from {first} on, {failed} failed, {:.1} s", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When it is to be said how far a run is: between two seeds, and at most once an interval.
struct Progress {
    /// Since the run began.
    next: Duration,
}

impl Progress {
    /// Whether it is time, so long after the run began. Intervals that one seed took are not made up for.
    fn is_due(&mut self, elapsed: Duration) -> bool {
        if elapsed < self.next {
            return false;
        }
        self.next = elapsed.saturating_add(PROGRESS_INTERVAL);
        true
    }
}

/// Refuses what would simulate nothing: a run without a seed must not look like one in which nothing failed.
fn hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| "not a number; write 4, or 0.5 for half an hour".to_owned())?;
    Duration::try_from_secs_f64(hours * 3600.0)
        .ok()
        .filter(|lasts| !lasts.is_zero())
        .ok_or_else(|| "not a length of time; write a number above 0, such as 4 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(hours: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["sipfed-sim".to_owned(), format!("--hours={hours}")])
    }

    #[test]
    fn hours_are_a_length_of_time() {
        assert_eq!(parsed("4").expect("hours").hours, Some(Duration::from_hours(4)));
        assert_eq!(parsed("0.5").expect("hours").hours, Some(Duration::from_mins(30)));
        for refused in ["0", "-1", "NaN", "inf", "1e300", "4h", ""] {
            assert!(parsed(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn progress_is_due_once_an_interval() {
        let mut progress = Progress { next: PROGRESS_INTERVAL };
        let due: Vec<_> = [1, 59, 60, 61, 119, 120, 500, 501, 559, 560]
            .into_iter()
            .filter(|&seconds| progress.is_due(Duration::from_secs(seconds)))
            .collect();
        assert_eq!(due, [60, 120, 500, 560]);
    }
}
