//! The invariants, for random histories. `PROPTEST_CASES` asks for more of them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};

use super::history::{Answer, History, Input, Turn, histories, tell};
use super::*;
use CircuitReason::{Failure, Inconclusive, Recovered, Reset, Waived};
use CircuitState::{Closed, HalfOpen, Open};

const CASES: u32 = 100_000;

fn config() -> Config {
    let asked = Config::default();
    Config { cases: asked.cases.max(CASES), failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_history_keeps_the_invariants(history in histories()) {
        each_transition_begins_an_epoch_and_their_replay_is_the_state(&history)?;
        the_window_is_a_list_of_the_newest_results(&history)?;
        callers_are_counted_as_in_a_list_of_what_they_reported(&history)?;
        recovery_takes_passes_of_its_own_epoch_and_none_that_is_bad(&history)?;
        periods_end_when_it_was_said_or_a_retune_shortens_them(&history)?;
        time_alone_moves_on(&history)?;
        for turn in &history.turns {
            only_these_steps_are_made(turn)?;
            inert_results_change_nothing(turn)?;
            a_retune_moves_nothing_but_deadlines(turn)?;
            an_identical_retune_is_none(turn)?;
            time_stands_while_suspended(turn)?;
            permission_is_what_the_table_says(turn)?;
            leases_are_those_of_a_list(turn)?;
            overrides_lie_over_the_machine_until_their_time(turn)?;
            a_restored_circuit_is_the_same_in_a_new_epoch(turn)?;
        }
    }

    #[test]
    fn the_wall_clock_decides_nothing(history in histories(), walls in prop::collection::vec(0..u64::MAX / 2, 64)) {
        let Some(first) = history.turns.first() else { return Ok(()) };
        let mut other = first.before.clone();
        for (turn, wall) in history.turns.iter().zip(walls) {
            let now = Now { wall: Timestamp::from_nanos(wall), ..turn.now };
            let answer = tell(&mut other, &turn.input, &turn.policy, turn.chance, now);
            prop_assert_eq!(answer, (turn.answer, turn.transition));
            prop_assert_eq!(decided(&other), decided(&turn.after));
        }
    }
}

/// Everything that is not for people.
fn decided(circuit: &Circuit) -> (CircuitStatus, WindowCounts, [Option<Mono>; 2], Option<Override>) {
    let status = CircuitStatus {
        since_time: Timestamp::default(),
        until: None,
        left: None,
        overriding: None,
        ..circuit.status()
    };
    (status, circuit.counts(), [circuit.next_due(), circuit.override_due()], circuit.overriding())
}

/// The same without what a result changes that does not count: a lease is free again, and a check of an open circuit is seen.
fn counted(circuit: &Circuit) -> impl PartialEq + std::fmt::Debug + use<> {
    let (status, counts, due, overriding) = decided(circuit);
    let passive = PassiveCounts { leases: 0, ..counts.passive };
    (CircuitStatus { flapping: false, ..status }, WindowCounts { passive, ..counts }, due, overriding)
}

fn each_transition_begins_an_epoch_and_their_replay_is_the_state(history: &History) -> TestCaseResult {
    let (mut state, mut epoch, mut reason, mut since_time) = (Closed, Epoch::new(1), None, None);
    for turn in &history.turns {
        if let Some(transition) = turn.transition {
            prop_assert_eq!(transition.from, state);
            (state, epoch, reason) = (transition.to, epoch.next(), Some(transition.reason));
            since_time = Some(turn.now.wall);
        }
        let status = turn.after.status();
        prop_assert_eq!((status.state, status.epoch, status.reason), (state, epoch, reason));
        prop_assert_eq!(status.since_time, since_time.unwrap_or(status.since_time));
    }
    Ok(())
}

fn only_these_steps_are_made(turn: &Turn) -> TestCaseResult {
    let Some(Transition { from, to, reason }) = turn.transition else { return Ok(()) };
    let by_time = turn.settled().1 == turn.transition;
    let bad = turn.evidence().map(|sample| turn.is_bad(&sample));
    let legal = match (from, to, reason) {
        (Closed | HalfOpen, Open, Failure) => bad == Some(true) && !by_time,
        (Open, HalfOpen, Failure | Inconclusive) => by_time && turn.before.status().reason == Some(reason),
        (HalfOpen, Open, Inconclusive) | (HalfOpen, Closed, Waived) => by_time,
        (HalfOpen, Closed, Recovered) => bad == Some(false) && !by_time,
        (_, Closed, Reset) => matches!(turn.input, Input::Reset),
        _ => false,
    };
    prop_assert!(legal, "{turn:?}");
    let (before, after, cap) = (turn.before.streak, turn.after.streak, turn.policy.streak_cap());
    let streak = match (to, reason) {
        (Open, Failure) => u32::from(after) == (u32::from(turn.settled().0.streak) + 1).min(cap),
        (Closed, Reset) => after == 0,
        (Closed, _) if turn.policy.stable_for().is_zero() => after == 0,
        _ => after == before,
    };
    prop_assert!(streak, "{turn:?}");
    Ok(())
}

fn inert_results_change_nothing(turn: &Turn) -> TestCaseResult {
    let Input::Report(sample) = turn.input else { return Ok(()) };
    let (settled, transition) = turn.settled();
    let expected = turn.expected(&sample);
    prop_assert_eq!(turn.answer, Answer::Disposition(expected), "{:?}", turn);
    if expected != Disposition::Accepted || settled.state() == Open {
        prop_assert_eq!(turn.transition, transition);
        prop_assert_eq!(counted(&turn.after), counted(&settled));
    }
    Ok(())
}

fn a_retune_moves_nothing_but_deadlines(turn: &Turn) -> TestCaseResult {
    let Input::Retune(_) = turn.input else { return Ok(()) };
    let (before, after) = (turn.before.status(), turn.after.status());
    let streak = if before.state == Closed { turn.settled().0.status().streak } else { before.streak };
    let CircuitStatus { until, left, .. } = after;
    prop_assert!(until <= before.until && until.is_some() == before.until.is_some(), "{turn:?}");
    prop_assert!(left <= before.left && left.is_some() == before.left.is_some(), "{turn:?}");
    prop_assert_eq!(after, CircuitStatus { streak, until, left, ..before.clone() });
    Ok(())
}

fn an_identical_retune_is_none(turn: &Turn) -> TestCaseResult {
    let (before, _) = turn.settled();
    let mut after = before.clone();
    after.retune(&turn.policy, &turn.policy, turn.now);
    prop_assert_eq!(after, before);
    Ok(())
}

fn time_stands_while_suspended(turn: &Turn) -> TestCaseResult {
    let circuit = &turn.after;
    let waits = !circuit.status().suspended;
    prop_assert_eq!(circuit.next_due().is_some(), waits && circuit.state() != Closed);
    prop_assert_eq!(circuit.status().until.is_some(), waits && circuit.state() != Closed);
    prop_assert_eq!(circuit.status().left.is_some(), !waits && circuit.state() == Open);
    if turn.before.status().suspended && !matches!(turn.input, Input::Resume | Input::Reset) {
        prop_assert!(turn.transition.is_none() && circuit.status().suspended, "{turn:?}");
    }
    Ok(())
}

fn the_window_is_a_list_of_the_newest_results(history: &History) -> TestCaseResult {
    let (mut list, mut row): (Vec<(bool, bool)>, u32) = (Vec::new(), 0);
    for turn in &history.turns {
        let window = match turn.input {
            Input::Retune(to) => to.active_window(),
            _ => turn.policy.active_window(),
        };
        let is_check = |sample: &Sample| sample.source == Source::Active && turn.before.state() == Closed;
        let sample = turn.evidence().filter(is_check);
        if let Some(sample) = sample {
            list.push((sample.verdict == Verdict::Fail, turn.is_slow(&sample)));
            row = if turn.is_bad(&sample) { row + 1 } else { 0 };
        }
        list.drain(..list.len().saturating_sub(window as usize));
        if let Some(sample) = sample {
            let trips = turn.is_bad(&sample) && naively_trips(&list, row, &turn.policy);
            prop_assert_eq!(trips, turn.transition.is_some(), "{:?}", turn);
        }
        if turn.transition.is_some() {
            (list, row) = (Vec::new(), 0);
        }
        if turn.after.state() == Closed {
            let (failed, slow) = naive_counts(&list);
            let counts = turn.after.counts();
            let expected =
                WindowCounts { results: list.len() as u32, failed, slow, consecutive: row, passive: counts.passive };
            prop_assert_eq!(counts, expected, "{:?}", turn);
        }
    }
    Ok(())
}

fn naive_counts(list: &[(bool, bool)]) -> (u32, u32) {
    let count = |which: fn(&(bool, bool)) -> bool| list.iter().filter(|result| which(result)).count() as u32;
    (count(|(failed, _)| *failed), count(|(_, slow)| *slow))
}

fn naively_trips(list: &[(bool, bool)], row: u32, policy: &CircuitPolicy) -> bool {
    let (results, (failed, slow)) = (list.len() as u32, naive_counts(list));
    let reaches = |count: u32, rate: Option<u32>| rate.is_some_and(|rate| count * 10_000 >= rate * results);
    let by_row = policy.consecutive_failures().is_some_and(|most| row >= most);
    let by_failures = reaches(failed, policy.failure_rate());
    let by_slowness = policy.slow_threshold().is_some() && reaches(slow, policy.slow_rate());
    by_row || results >= policy.active_min() && (by_failures || by_slowness)
}

/// An outcome in a list: in which tenth of a window it came, whether it failed and was slow, and whose it is.
type Outcome = (u64, bool, bool, u64);

fn callers_are_counted_as_in_a_list_of_what_they_reported(history: &History) -> TestCaseResult {
    let mut list: Vec<Outcome> = Vec::new();
    for turn in &history.turns {
        let now = turn.now.mono.max(turn.before.last_seen).as_nanos();
        let tenth = |policy: &CircuitPolicy| policy.passive().window().as_nanos() as u64 / 10;
        let (mut span, policy) = (tenth(&turn.policy), turn.policy);
        if let Input::Retune(to) = turn.input {
            let old = span;
            span = tenth(&to);
            list.iter_mut().for_each(|outcome| outcome.0 = outcome.0 * old / span);
        }
        // A window rolls when something is told to it.
        let told = turn.evidence().filter(|sample| sample.source != Source::Active && turn.before.state() == Closed);
        if let Some(Sample { source: Source::Passive { reporter, .. }, verdict, .. }) = told {
            let slow = told.is_some_and(|sample| turn.is_slow(&sample));
            list.push((now / span, verdict == Verdict::Fail, slow, reporter));
        }
        if told.is_some() {
            list.retain(|(number, ..)| number + 10 > now / span);
        }
        let count = |which: fn(&Outcome) -> bool| list.iter().filter(|outcome| which(outcome)).count() as u32;
        let (results, failed, slow) = (list.len() as u32, count(|it| it.1), count(|it| it.2));
        if let Some(sample) = told {
            let accusers: BTreeSet<u64> = list.iter().filter(|it| it.1 || it.2).map(|it| it.3).collect();
            let reaches = |count: u32, rate: Option<u32>| rate.is_some_and(|rate| count * 10_000 >= rate * results);
            let by_slowness = policy.slow_threshold().is_some() && reaches(slow, policy.slow_rate());
            let trips = turn.is_bad(&sample)
                && results >= policy.passive().min()
                && accusers.len() >= policy.passive().min_reporters() as usize
                && (reaches(failed, policy.failure_rate()) || by_slowness);
            prop_assert_eq!(trips, turn.transition.is_some(), "{:?}", turn);
        }
        if turn.transition.is_some() {
            list = Vec::new();
        }
        if turn.after.state() == Closed {
            let expected = PassiveCounts { results, failed, slow, leases: 0 };
            let expected = if turn.transition.is_some() { PassiveCounts::default() } else { expected };
            prop_assert_eq!(turn.after.counts().passive, expected, "{:?}", turn);
        }
    }
    Ok(())
}

fn permission_is_what_the_table_says(turn: &Turn) -> TestCaseResult {
    let Answer::Permission(permission) = turn.answer else { return Ok(()) };
    let (settled, transition) = turn.settled();
    prop_assert_eq!(turn.transition, transition);
    let now = turn.now.mono.max(turn.before.last_seen);
    let policy = turn.policy.passive();
    let (status, calls) = (settled.status(), settled.counts().passive.results);
    let (live, granted) = (turn.live.len() as u32, turn.live.len() as u32 + calls);
    let lease = |lease| Permission::Granted(Permit { epoch: status.epoch, lease });
    let expected = match (settled.overriding(), status.state) {
        (Some(Override::ForcedClosed | Override::Shadow), _) => Some(lease(None)),
        (Some(Override::ForcedOpen), _) => None,
        (None, _) if status.suspended => None,
        (None, Closed) => Some(lease(None)),
        (None, HalfOpen) if live < policy.trial_concurrency() && granted < policy.trial_permits() => {
            Some(lease(Some(Lease { number: turn.given, until: now + policy.lease_ttl() })))
        }
        (None, Open | HalfOpen) => None,
    };
    match (expected, permission) {
        (Some(expected), permission) => prop_assert_eq!(permission, expected, "{:?}", turn),
        (None, Permission::Granted(_)) => prop_assert!(false, "{:?}", turn),
        (None, Permission::Denied(Denial { retry_after })) => {
            let due = match settled.overriding() {
                Some(_) => settled.override_due(),
                None => settled.next_due(),
            };
            let left = due.map(|due| due.since(now));
            prop_assert_eq!(retry_after.is_some(), left.is_some(), "{:?}", turn);
            let most = left.unwrap_or_default().mul_f64(1.0 + turn.policy.jitter() * turn.chance);
            prop_assert!(retry_after.unwrap_or_default() <= most + Duration::from_nanos(100), "{:?}", turn);
            if status.state == Open && settled.overriding().is_none() {
                prop_assert!(retry_after >= left, "nobody is to come too early: {:?}", turn);
            }
        }
    }
    let granted = matches!(permission, Permission::Granted(Permit { lease: Some(_), .. }));
    let (mut before, after) = (decided(&settled), decided(&turn.after));
    before.1.passive.leases += u32::from(granted);
    prop_assert_eq!(before, after, "only a lease is taken: {:?}", turn);
    Ok(())
}

fn leases_are_those_of_a_list(turn: &Turn) -> TestCaseResult {
    let settled = turn.settled().0;
    if settled.state() == HalfOpen && turn.input.settles() {
        prop_assert_eq!(settled.counts().passive.leases as usize, turn.live.len(), "{:?}", turn);
    }
    Ok(())
}

fn overrides_lie_over_the_machine_until_their_time(turn: &Turn) -> TestCaseResult {
    let now = turn.now.mono.max(turn.before.last_seen);
    let (before, after) = (&turn.before, &turn.after);
    let expected = match (turn.input, turn.answer) {
        (Input::Override(wanted), _) => {
            let due = wanted.and_then(|(_, span)| span).map(|span| now + span);
            prop_assert_eq!(after.override_due(), due);
            wanted.map(|(mode, _)| mode)
        }
        (Input::ExpireOverride, Answer::Expired(expired)) => {
            prop_assert_eq!(expired, before.override_due().is_some_and(|due| due <= now));
            before.overriding().filter(|_| !expired)
        }
        _ => before.overriding(),
    };
    prop_assert_eq!(after.overriding(), expected);
    if matches!(turn.input, Input::Override(_) | Input::ExpireOverride) {
        let strip = |(status, counts, due, _): (_, _, [_; 2], _)| (status, counts, due[0]);
        prop_assert_eq!(strip(decided(after)), strip(decided(before)), "what lies beneath stays: {:?}", turn);
    }
    Ok(())
}

fn a_restored_circuit_is_the_same_in_a_new_epoch(turn: &Turn) -> TestCaseResult {
    let (status, policy) = (turn.after.status(), &turn.policy);
    let mut circuit = Circuit::restore(&status, policy, turn.now.wall, turn.now);
    let restored = circuit.status();
    prop_assert!(restored.epoch > status.epoch && restored.suspended);
    prop_assert_eq!(
        (restored.streak, restored.trip_source, restored.reason, &restored.overriding),
        (status.streak, status.trip_source, status.reason, &status.overriding)
    );
    let state = if status.state == HalfOpen { Open } else { status.state };
    prop_assert_eq!((restored.state, circuit.counts()), (state, WindowCounts::default()));
    circuit.resume(turn.now);
    let left = circuit.next_due().map(|due| due.since(turn.now.mono));
    let said = status.left.or_else(|| status.until.map(|until| until.since(turn.now.wall)));
    let expected = match status.state {
        Closed => None,
        HalfOpen => Some(Duration::ZERO),
        Open => said.map(|said| said.min(policy.open_max())),
    };
    prop_assert_eq!(left, expected, "no more, and no less: {:?}", turn);
    Ok(())
}

fn recovery_takes_passes_of_its_own_epoch_and_none_that_is_bad(history: &History) -> TestCaseResult {
    let (mut checks, mut calls, mut bad, mut tripped_by) = (0, 0, 0, None);
    for turn in &history.turns {
        let sample = turn.evidence();
        if turn.before.state() == HalfOpen
            && let Some(sample) = sample
        {
            match sample.source {
                _ if turn.is_bad(&sample) => bad += 1,
                Source::Active => checks += 1,
                Source::Passive { lease, .. } => {
                    prop_assert!(lease.is_some(), "{turn:?}");
                    calls += 1;
                }
            }
        }
        let Some(transition) = turn.transition else { continue };
        let enough = checks >= turn.policy.close_successes();
        let called = tripped_by != Some(EvidenceSource::Passive) || calls >= turn.policy.passive().trial_permits();
        match (transition.to, transition.reason) {
            (Closed, Recovered) => prop_assert!(bad == 0 && enough && called, "{checks}, {calls}, {bad}: {turn:?}"),
            (Closed, Waived) => prop_assert!(bad == 0 && enough, "{checks}, {bad}: {turn:?}"),
            (Open, Inconclusive) => prop_assert!(bad == 0 && !enough, "{checks}, {bad}: {turn:?}"),
            (Closed, Reset) => tripped_by = None,
            (Open, Failure) if transition.from == Closed => {
                tripped_by = sample.map(|sample| match sample.source {
                    Source::Active => EvidenceSource::Active,
                    Source::Passive { .. } => EvidenceSource::Passive,
                });
            }
            _ => {}
        }
        (checks, calls, bad) = (0, 0, 0);
        prop_assert_eq!(turn.after.status().trip_source, tripped_by);
    }
    Ok(())
}

/// A stopwatch of our own runs while the circuit does, and so knows how long each period was meant to be.
fn periods_end_when_it_was_said_or_a_retune_shortens_them(history: &History) -> TestCaseResult {
    let mut clock = history.turns.first().map(|turn| turn.before.last_seen).unwrap_or_default();
    let (mut ran, mut meant) = (Duration::ZERO, None::<Duration>);
    // What a retune makes of a suspended period shows when it goes on.
    let mut retuned = false;
    for turn in &history.turns {
        let now = clock.max(turn.now.mono);
        if !turn.before.status().suspended {
            ran += now.since(clock);
        }
        clock = now;
        if turn.transition.is_some() {
            (ran, meant) = (Duration::ZERO, None);
        }
        let Some(due) = turn.after.next_due() else {
            retuned |= matches!(turn.input, Input::Retune(_));
            continue;
        };
        let lasts = Duration::from_nanos(due.as_nanos() + ran.as_nanos() as u64 - now.as_nanos());
        match (meant, turn.input) {
            (None, _) => prop_assert!(is_right(turn, lasts), "{lasts:?}: {turn:?}"),
            (Some(meant), Input::Retune(to)) => {
                let most = if turn.after.state() == Open { to.open_max() } else { to.half_open_max() };
                prop_assert!(lasts <= meant && lasts <= ran + most, "{lasts:?}: {turn:?}");
            }
            (Some(meant), _) if retuned => prop_assert!(lasts <= meant, "{lasts:?}: {turn:?}"),
            (Some(meant), _) => prop_assert_eq!(lasts, meant, "{:?}", turn),
        }
        (meant, retuned) = (Some(lasts), false);
    }
    Ok(())
}

/// Whether a period that begins with this turn has the right length.
fn is_right(turn: &Turn, lasts: Duration) -> bool {
    let policy = &turn.policy;
    if turn.after.state() == HalfOpen {
        return lasts == policy.half_open_max();
    }
    let growths = turn.after.streak.max(1) - 1;
    let grown = (0..growths).fold(policy.open_base(), |span, _| span.mul_f64(policy.multiplier()));
    let full = grown.min(policy.open_max());
    let expected = full.mul_f64(1.0 - policy.jitter() * turn.chance);
    let about = Duration::from_nanos(100);
    lasts <= policy.open_max() && lasts <= expected + about && expected <= lasts + about
}

fn time_alone_moves_on(history: &History) -> TestCaseResult {
    let Some(mut circuit) = history.circuit() else { return Ok(()) };
    let mut now = history.now;
    circuit.resume(now);
    for _ in 0..4 {
        let state = circuit.state();
        let Some(due) = circuit.next_due() else { break };
        let most = if state == Open { history.policy.open_max() } else { history.policy.half_open_max() };
        prop_assert!(due.since(now.mono) <= most, "{due:?}: {circuit:?}");
        now.mono = now.mono.max(due);
        let moved = circuit.settle(&history.policy, 0.5, now).map(|transition| (transition.from, transition.to));
        prop_assert!(moved.is_some_and(|(from, to)| from == state && to != state), "{moved:?}: {circuit:?}");
    }
    prop_assert!(circuit.next_due().is_some() || circuit.state() == Closed, "{circuit:?}");
    Ok(())
}
