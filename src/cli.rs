//! The command line: `serve`, the commands that speak to a server, and `demo`, which is both.
//!
//! Exit codes: 0 done, 1 a negative outcome, 2 usage and INVALID_ARGUMENT, 3 NOT_FOUND, 4 UNAVAILABLE and DEADLINE_EXCEEDED,
//! 5 every other status; `serve`: 0 clean, 10 abandoned a stuck task, 11 forced.

mod apply;
mod change;
mod checks;
mod circuit;
mod completions;
mod demo;
mod diff;
mod drain;
mod duration;
mod event_view;
mod events;
mod failure;
mod history;
mod json;
mod listing;
mod look_back;
mod moment;
mod output;
mod pause;
mod progress;
mod read;
mod remote;
mod run;
mod salvage;
mod selection;
mod serve;
mod signals;
mod spec_flags;
mod start;
mod stop;
mod store;
mod swap;
mod table;
mod task_source;
mod task_view;
mod wait;
mod watch;
mod words;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// A control plane for monitoring tasks: start, list, swap, pause, cancel and watch them.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  switchyard demo                                               see what it does, in 40 s
  switchyard serve                                              run a server
  switchyard start api --http http://127.0.0.1:8080/ --interval 5s
  switchyard watch                                              follow what happens
  switchyard events --since 10m                                 see what has happened
  switchyard swap api --http http://127.0.0.1:9090/ --wait      another target, no check missed
  switchyard rollback api --wait                                back to the spec before
  switchyard apply -f tasks/ --owner core --prune               have all be as files say
  switchyard pause api --for 2h                                 have it rest for a while
  switchyard circuit list                                       which targets should be called
  switchyard cancel api                                         stop it, with a proven outcome

Exit codes: 0 done, 1 a negative outcome, 2 usage and INVALID_ARGUMENT, 3 NOT_FOUND,
4 UNAVAILABLE and DEADLINE_EXCEEDED, 5 every other status; serve: 0 clean, 10 abandoned a
stuck task, 11 forced.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(Box<serve::Serve>),
    Start(Box<start::Start>),
    Get(read::Get),
    List(read::List),
    Swap(Box<swap::Swap>),
    Diff(Box<diff::Diff>),
    History(history::History),
    Rollback(Box<history::Rollback>),
    Apply(apply::Apply),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Run(run::Run),
    Cancel(stop::Cancel),
    Delete(stop::Delete),
    Wait(wait::Wait),
    Watch(watch::Watch),
    Events(events::Events),
    Checks(checks::Checks),
    Circuit(Box<circuit::Circuit>),
    Info(read::Info),
    Store(store::Store),
    Drain(drain::Drain),
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let Arguments { command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help for a reader that has gone is lost on nobody.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match command {
        Command::Demo(demo) => demo.run(),
        Command::Serve(serve) => serve.run(),
        Command::Start(start) => block_on(start.run()),
        Command::Get(get) => block_on(get.run()),
        Command::List(list) => block_on(list.run()),
        Command::Swap(swap) => block_on(swap.run()),
        Command::Diff(diff) => block_on(diff.run()),
        Command::History(history) => block_on(history.run()),
        Command::Rollback(rollback) => block_on(rollback.run()),
        Command::Apply(apply) => block_on(apply.run()),
        Command::Pause(pause) => block_on(pause.run()),
        Command::Resume(resume) => block_on(resume.run()),
        Command::Run(run) => block_on(run.run()),
        Command::Cancel(cancel) => block_on(cancel.run()),
        Command::Delete(delete) => block_on(delete.run()),
        Command::Wait(wait) => block_on(wait.run()),
        Command::Watch(watch) => block_on(watch.run()),
        Command::Events(events) => block_on(events.run()),
        Command::Checks(checks) => block_on(checks.run()),
        Command::Circuit(circuit) => block_on(circuit.run()),
        Command::Store(store) => store.run(),
        Command::Info(info) => block_on(info.run()),
        Command::Drain(drain) => block_on(drain.run()),
        Command::Completions(completions) => completions.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                output::note(&text);
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Commands that speak to a server need no more than this thread.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Local(format!("cannot start a runtime: {error}")))?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_examples() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for command in command.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("switchyard {}", command.get_name())), "{}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
