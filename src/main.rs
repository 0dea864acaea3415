//! The command line of psmr. All of it is in `psmr::cli`.

use std::process::ExitCode;

/// Counts, so that a report can tell whether the data path allocates.
#[global_allocator]
static ALLOCATOR: psmr::mem::CountingAllocator = psmr::mem::CountingAllocator;

fn main() -> ExitCode {
    psmr::cli::run(std::env::args_os())
}
