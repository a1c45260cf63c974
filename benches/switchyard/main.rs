//! The figures of Switchyard, each beside its baseline in the same run, as one table:
//!
//! ```sh
//! cargo bench --locked                      # every row, about a quarter of an hour
//! cargo bench --locked -- start replay      # the rows whose name contains one of these
//! cargo bench --locked -- --quick           # every row, small: for seeing that it works, not for its figures
//! ```
//!
//! A row and its baseline take turns (A B A B …), and the table has the medians of the turns. Everything is in one process: the
//! server on a runtime of two threads, as the binary has it, and the clients on another of as many, over real loopback sockets.
//! So clients cost what servers do, and both share the machine's cores.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this is for")]

mod apply;
mod bare;
mod blocked;
mod checks;
mod circuit;
mod durable;
mod fan_out;
mod handle;
mod lab;
mod memory;
mod mirror;
mod pages;
mod poll;
mod replay;
mod reports;
mod restart;
mod rpcs;
mod scratch;
mod served;
mod spread;
mod stalled;
mod swaps;
mod table;
mod watching;

use std::process::ExitCode;

use clap::Parser;
use lab::Lab;
use table::{Case, Row};

/// The binary's.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The one that counts, for `cargo bench --locked --no-default-features --features server -- memory`.
#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Switchyard's benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Only the rows whose name contains one of these, whatever the case of their letters.
    filters: Vec<String>,
    /// Every row, small: shows that it works.
    #[arg(long)]
    quick: bool,
    /// The names of the rows.
    #[arg(long)]
    list: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
    /// In a process of its own: holds so many tasks of a kind, and says how much memory each takes.
    #[arg(long, hide = true, num_args = 2, value_names = ["KIND", "TASKS"])]
    hold: Option<Vec<String>>,
    /// In a process of its own: starts so many tasks of a kind in a directory.
    #[arg(long, hide = true, num_args = 3, value_names = ["KIND", "TASKS", "DIR"])]
    fill: Option<Vec<String>>,
    /// In a process of its own: serves what is in a directory.
    #[arg(long, hide = true, value_name = "DIR")]
    serve: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments {
        Arguments { hold: Some(held), .. } => memory::hold(held),
        Arguments { fill: Some(filled), .. } => restart::fill(filled),
        Arguments { serve: Some(directory), .. } => restart::serve(directory),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let families = [
        rpcs::cases(),
        durable::cases(),
        pages::cases(),
        memory::cases(),
        handle::cases(),
        restart::cases(),
        swaps::cases(),
        apply::cases(),
        fan_out::cases(),
        replay::cases(),
        stalled::cases(),
        checks::cases(),
        circuit::cases(),
        reports::cases(),
        mirror::cases(),
        spread::cases(),
        poll::cases(),
        blocked::cases(),
    ];
    let cases = families.into_iter().flatten().filter(|case| case.is_wanted(&arguments.filters));
    if arguments.list {
        cases.for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    let lab = Lab::new(arguments.quick)?;
    let mut rows: Vec<Row> = Vec::new();
    for Case { name, run } in cases {
        eprintln!("{name} …");
        rows.extend(run(&lab)?);
    }
    print!("{}", table::render(&rows, arguments.quick));
    Ok(())
}
