//! Runs simulations for as long as is wanted: `cargo run --release -p sipfed-sim -- --help`.

use clap::Parser;
use sipfed_sim::{Defect, Outcome, Profile, run_with};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

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
    /// How long, instead of how many
    #[arg(long, conflicts_with = "seeds")]
    hours: Option<f64>,
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

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let first = args.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    });
    let count = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { 100 });
    let lasts = args.hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
    let (mut done, mut failed) = (0, 0);
    while lasts.map_or(done < count, |lasts| began.elapsed() < lasts) {
        let outcome: Outcome = run_with(first.wrapping_add(done), args.profile, Defect::None, args.trace);
        done += 1;
        let has_failed = !outcome.violations.is_empty();
        failed += u64::from(has_failed);
        if has_failed || count == 1 && lasts.is_none() {
            println!("{outcome}");
        }
        if has_failed && !args.keep_going {
            break;
        }
    }
    println!("{done} seeds from {first} on, {failed} failed, {:.1} s", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
