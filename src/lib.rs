//! Switchyard is a gRPC control plane for monitoring tasks: remote clients start, list, cancel, hot-swap and watch them, an
//! in-process manager runs them and stops them in two phases, with a proven outcome, each drives a circuit breaker, and every step
//! is an event on a resumable stream.
//!
//! To run it, see the README. To embed it with monitors of your own, begin at [`server::Server`] and [`monitor`]. To call it, or to
//! mirror its circuits, begin at [`client`]; the features `client` and no default ones build that alone, without the server.
//!
//! # The map
//!
//! | room | what is in it | may import |
//! |---|---|---|
//! | [`model`] | validated domain types: names, specs, tasks, events, filters | value crates only |
//! | [`circuit`] | a task's circuit breaker: evidence and time in, transitions out | model |
//! | [`lifecycle`] | the manager's decisions: `step(input, now) -> effects`; the plan of a set | model, circuit |
//! | [`monitor`] | what a monitor is, its context, kinds and their registry, the testing kit, drills | model |
//! | [`probe`] | the built-in kinds: HTTP, TCP, commands; dialling | model, monitor |
//! | [`journal`] | the log of events, group commit, the view, the stream, snapshots of listings | model |
//! | [`manager`] | the shell: runs lifecycle's effects on shards, reaps what ends, rolls out whole sets | model, lifecycle, monitor, journal |
//! | [`pb`] | the wire form, and its conversions to and from model | model |
//! | [`rpc`] | the gRPC services, errors, limits | pb, model, the manager's handle, the journal's view and stream |
//! | `accept` | the accept loop that rpc and http share | nothing |
//! | [`http`] | `/metrics`, `/healthz`, `/readyz` | model |
//! | [`telemetry`] | metric families, logging | model |
//! | [`config`] | the validated configuration and its layers | model |
//! | [`task_files`] | tasks as people keep them: YAML, JSON, TOML | model, pb |
//! | [`server`] | the composition root: build, serve, drain | all |
//! | [`client`] | a typed client, with watches that resume; the mirror of circuits, and layers on it | pb |
//! | [`cli`] | the command line | model, client, pb, config, server, task_files |
//!
//! Everyone but the pure rooms (model, circuit, lifecycle) may use telemetry's structs. A test keeps these walls.
//!
//! # The one way through
//!
//! Down: [`rpc`] parses a request, by [`pb`], into [`model`]; the [`manager`]'s handle hands it to the loop; the loop asks
//! [`lifecycle`] what follows, appends the events to the [`journal`], and only then acts: launches, signals, aborts, answers.
//!
//! Up, and only so: the journal commits, swaps the view, wakes the streams and releases the answers. So **append decides and
//! commit shows**: what a client saw is in the log, and what is visible is the fold of the log.
//!
//! # The threads
//!
//! | thread | runs | never runs |
//! |---|---|---|
//! | control runtime (the caller's; the binary gives it 2 workers) | gRPC, HTTP | a monitor's code |
//! | `manager` | the loop and the reapers; every deadline | a monitor's code, I/O |
//! | `journal` | commits, releases | a reader's code |
//! | `watchdog` | a look at what each shard polls, a hundred times a second | anything that could wait |
//! | `shard-N` | monitors of built-in kinds | code that is not ours, a deadline |
//! | `custom-N` | monitors of custom kinds: together, those of a quarantined kind, or a single one | a deadline |
//! | blocking pool | a kind's `validate`, `target_key` and `build`, each awaited for a second; name look-ups, long matches, starts of commands, `/metrics`, the opening of the store and its copies | a decision |
//! | `reaper` | waits for one command that has been killed, where nobody else can any more | |
//! | `event-log` | one log line for each event | |
//!
//! # Invariants, as absences
//!
//! - No code but the journal writes what clients can see, and none but [`lifecycle`] decides what that is.
//! - Nothing in model, circuit or lifecycle reads a clock, draws a random number or does I/O; so every decision can be replayed from a
//!   seed. The simulator in `lifecycle` does, and checks the rest of this list after every step.
//! - No instance is signalled before its state has changed. None is started beside a live one of its task, but for a swap's
//!   candidate or what takes over from one that stops; never a third, and none beside one that is stuck.
//! - No check of a candidate, nor of an instance that was replaced, drives anything. No swap stops an instance that is ready before
//!   its successor is, unless it was asked to; and none that fails is noticed by the old instance.
//! - No instance has ended while it, or a child of it, can still run. None that lives is uncounted.
//! - No process of a command's group outlives its check, however that ends. (What has left the group is not reached.)
//! - No stop takes longer than grace + abort until its outcome is known, however many stop at once; and no second request
//!   extends the deadlines of the first.
//! - No fact about an instance that has ended changes anything.
//! - No poll that blocks its thread goes unnoticed while it does, and none takes its neighbours with it: after a second the thread
//!   is its own, and they are started again elsewhere. (What a monitor spawns past its context nobody can name.)
//! - No more threads are lost to monitors of custom kinds than `max_stuck` allows.
//! - No queue, wait, message or retry is without a bound. (While the journal's store does not write, no command is taken in but
//!   cancels, and what goes on by itself leaves a fixed number of facts for each task; a client's watch goes on trying for as long as it
//!   is wanted, ever more slowly.)
//! - No client waits for a journal that is stalled: it is told that what it asked for is refused, or not yet durable. None is told that
//!   something was done which is not.
//! - Nothing that a client was answered or shown is lost with the process, however that ends, unless the store is in memory; and
//!   nothing comes back half done: what was not decided is rolled back, what was is finished.
//! - No sequence, generation, attempt or epoch that anybody has seen is used again, restarts included.
//! - No event is dropped silently: a watcher gets every matching one in order, or is told `OUT_OF_RANGE`.
//! - No panic of a monitor reaches anything but its own instance. (A panic while unwinding from a panic aborts the process:
//!   Rust leaves no way to contain it.) With `panic = "abort"` that would be untrue, so a server does not compile with it.

#[cfg(all(feature = "server", panic = "abort"))]
compile_error!("Switchyard contains the panics of monitors; it cannot do so with panic = \"abort\"");

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "server")]
mod accept;
#[cfg(feature = "server")]
pub mod circuit;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod journal;
#[cfg(feature = "server")]
pub mod lifecycle;
#[cfg(feature = "server")]
pub mod manager;
#[cfg(feature = "server")]
pub mod model;
#[cfg(feature = "server")]
pub mod monitor;
pub mod pb;
#[cfg(feature = "server")]
pub mod probe;
#[cfg(feature = "server")]
pub mod rpc;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod task_files;
#[cfg(feature = "server")]
pub mod telemetry;
