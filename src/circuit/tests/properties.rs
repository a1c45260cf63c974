//! The invariants, for random histories. `PROPTEST_CASES` asks for more of them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

use super::history::{History, Input, Turn, histories, tell};
use super::*;
use CircuitReason::{Failure, Inconclusive, Recovered, Reset, Waived};
use CircuitState::{Closed, HalfOpen, Open};

const CASES: u32 = 10_000;

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
        recovery_takes_passes_of_its_own_epoch_and_none_that_is_bad(&history)?;
        periods_end_when_it_was_said_or_a_retune_shortens_them(&history)?;
        time_alone_moves_on(&history)?;
        for turn in &history.turns {
            only_these_steps_are_made(turn)?;
            inert_results_change_nothing(turn)?;
            a_retune_moves_nothing_but_deadlines(turn)?;
            an_identical_retune_is_none(turn)?;
            time_stands_while_suspended(turn)?;
        }
    }

    #[test]
    fn the_wall_clock_decides_nothing(history in histories(), walls in prop::collection::vec(any::<u64>(), 48)) {
        let Some(first) = history.turns.first() else { return Ok(()) };
        let mut other = first.before.clone();
        for (turn, wall) in history.turns.iter().zip(walls) {
            let now = Now { wall: Timestamp::from_nanos(wall), ..turn.now };
            let answer = tell(&mut other, &turn.input, &turn.policy, turn.chance, now);
            prop_assert_eq!(answer, (turn.disposition, turn.transition));
            prop_assert_eq!(decided(&other), decided(&turn.after));
        }
    }
}

/// The properties above say nothing of a step that no history makes.
#[test]
fn histories_make_every_step_there_is() {
    let mut runner = TestRunner::new_with_rng(config(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut steps = BTreeSet::new();
    for _ in 0..2_000 {
        let history = histories().new_tree(&mut runner).expect("a history").current();
        steps.extend(
            history.turns.iter().filter_map(|turn| turn.transition).map(|step| (step.from, step.to, step.reason)),
        );
    }
    let expected = [
        (Closed, Open, Failure),
        (Closed, Closed, Reset),
        (Open, Closed, Reset),
        (Open, HalfOpen, Failure),
        (Open, HalfOpen, Inconclusive),
        (HalfOpen, Closed, Recovered),
        (HalfOpen, Closed, Waived),
        (HalfOpen, Closed, Reset),
        (HalfOpen, Open, Failure),
        (HalfOpen, Open, Inconclusive),
    ];
    assert_eq!(steps, BTreeSet::from(expected));
}

/// Everything that is not for people.
fn decided(circuit: &Circuit) -> (CircuitState, bool, Epoch, Option<CircuitReason>, u32, WindowCounts, Option<Mono>) {
    let CircuitStatus { state, suspended, epoch, since_time: _, reason, open_until: _, left: _, streak } =
        circuit.status();
    (state, suspended, epoch, reason, streak, circuit.counts(), circuit.next_due())
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
    let stale = sample.epoch != settled.epoch() || settled.status().suspended;
    let expected = match sample.verdict {
        _ if stale => Disposition::Stale,
        Verdict::Neutral => Disposition::Neutral,
        Verdict::Pass | Verdict::Fail => Disposition::Accepted,
    };
    prop_assert_eq!(turn.disposition, Some(expected), "{:?}", turn);
    if expected != Disposition::Accepted || settled.state() == Open {
        prop_assert_eq!(turn.transition, transition);
        prop_assert_eq!(&turn.after, &settled);
    }
    Ok(())
}

fn a_retune_moves_nothing_but_deadlines(turn: &Turn) -> TestCaseResult {
    let Input::Retune(_) = turn.input else { return Ok(()) };
    let (before, after) = (turn.before.status(), turn.after.status());
    let streak = if before.state == Closed { turn.settled().0.status().streak } else { before.streak };
    let CircuitStatus { open_until, left, .. } = after;
    prop_assert!(open_until <= before.open_until && open_until.is_some() == before.open_until.is_some(), "{turn:?}");
    prop_assert!(left <= before.left && left.is_some() == before.left.is_some(), "{turn:?}");
    prop_assert_eq!(after, CircuitStatus { streak, open_until, left, ..before });
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
    prop_assert_eq!(circuit.status().open_until.is_some(), waits && circuit.state() == Open);
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
        let sample = turn.evidence().filter(|_| turn.before.state() == Closed);
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
            let expected = WindowCounts { results: list.len() as u32, failed, slow, consecutive: row };
            prop_assert_eq!(turn.after.counts(), expected, "{:?}", turn);
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

fn recovery_takes_passes_of_its_own_epoch_and_none_that_is_bad(history: &History) -> TestCaseResult {
    let (mut passed, mut bad) = (0, 0);
    for turn in &history.turns {
        if turn.before.state() == HalfOpen
            && let Some(sample) = turn.evidence()
        {
            if turn.is_bad(&sample) { bad += 1 } else { passed += 1 }
        }
        if let Some(transition) = turn.transition {
            if [Recovered, Waived].contains(&transition.reason) && transition.to == Closed {
                prop_assert!(bad == 0 && passed >= turn.policy.close_successes(), "{passed}, {bad}: {turn:?}");
            }
            if transition.reason == Inconclusive && transition.to == Open {
                prop_assert!(bad == 0 && passed < turn.policy.close_successes(), "{passed}, {bad}: {turn:?}");
            }
            (passed, bad) = (0, 0);
        }
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
