//! Load generator, yardsticks and measurements for sipfed: `sipfed-bench --help`.
//!
//! It measures and reports, and never fails because something was slow.
//!
//! - [`cli`]: scenarios and their options; [`scenario`]: one file each.
//! - [`server`]: the process under measurement, and how it is ended and started again; [`echo`]: the yardsticks beside it.
//! - [`sockets`], [`pace`], [`resend`], [`latency`]: how load is offered and timed.
//! - [`register_message`], [`register_load`]: phones that register; [`fetch`]: who asks what is
//!   registered; [`call_message`], [`call_load`]: phones
//!   that call; [`pinged`]: phones that are pinged. [`template`], [`branch`], [`answer`], [`lines`]: what the hot path writes and reads.
//! - [`phase`], [`report`], [`target`]: figures and what they should be.
//! - [`sys`]: the only unsafe code.
#![deny(unsafe_code)]

mod answer;
mod branch;
mod call_load;
mod call_message;
mod cli;
mod echo;
mod error;
mod fetch;
mod latency;
mod lines;
mod pace;
mod phase;
mod pinged;
mod register_load;
mod register_message;
mod report;
mod resend;
mod scenario;
mod server;
mod sockets;
mod sys;
mod target;
mod template;

use clap::Parser;
use std::error::Error as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: sys::CountingAllocator = sys::CountingAllocator;

fn main() -> ExitCode {
    sys::decline_huge_pages();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sipfed-bench: {error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                eprintln!("  because: {deeper}");
                cause = deeper.source();
            }
            ExitCode::FAILURE
        }
    }
}
