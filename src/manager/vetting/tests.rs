use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc;
use tokio::time::advance;

use super::turns::AT_ONCE;
use super::*;
use crate::model::ConfigValue;
use crate::monitor::{BuiltIn, MonitorError};

/// More than any test sends at once.
const MESSAGES: usize = 8;

struct NoBuiltIns;

impl BuiltIn for NoBuiltIns {
    fn names(&self) -> &'static [&'static str] {
        &[]
    }

    fn build(&self, _: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        None
    }
}

/// A kind that says what it is asked for, and goes on when it is told to.
struct Gated {
    entered: mpsc::Sender<&'static str>,
    go_on: Mutex<Receiver<()>>,
}

/// The other side of it.
struct Gate {
    entered: mpsc::Receiver<&'static str>,
    go_on: SyncSender<()>,
    vetting: Vetting,
}

impl Gated {
    fn pass(&self, step: &'static str) {
        self.entered.try_send(step).expect("the test runs");
        // Where the test has ended, nobody waits for this any more.
        let _ = self.go_on.lock().expect("no panic").recv();
    }
}

impl Kind for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn validate(&self, _: &Config) -> Result<(), Violations> {
        self.pass(VALIDATE);
        Ok(())
    }

    fn build(&self, _: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        self.pass(BUILD);
        Err(MonitorError::from("it is never built"))
    }
}

fn gate() -> Gate {
    let ((entered, entries), (go_on, goes_on)) = (mpsc::channel(MESSAGES), sync_channel(MESSAGES));
    let mut registry = Registry::new(NoBuiltIns);
    registry.register(Gated { entered, go_on: Mutex::new(goes_on) }).expect("one kind");
    Gate { entered: entries, go_on, vetting: Vetting::new(registry, |_| "") }
}

impl Gate {
    /// A start's vetting, which runs beside the test.
    fn vet(&self) -> tokio::task::JoinHandle<Result<(Target, Option<Built>), Refusal>> {
        let vetting = self.vetting.clone();
        let spec = MonitorSpec::Custom(CustomSpec { kind: "gated".to_owned(), config: ConfigValue::default() });
        tokio::spawn(async move { vetting.vet(&spec).await })
    }

    async fn entered(&mut self) -> &'static str {
        self.entered.recv().await.expect("the kind lives")
    }
}

fn hung(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::KindUnresponsive { step, .. } => Some(step),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_step_is_named() {
    let mut gate = gate();
    let vetted = gate.vet();
    assert_eq!(gate.entered().await, VALIDATE);
    advance(WITHIN).await;
    let refusal = vetted.await.expect("no panic").err().expect("refused");
    assert_eq!(hung(&refusal), Some(VALIDATE));
    gate.go_on.send(()).expect("the kind lives");

    let vetted = gate.vet();
    assert_eq!(gate.entered().await, VALIDATE, "and what nobody waits for any more is not built");
    gate.go_on.send(()).expect("the kind lives");
    assert_eq!(gate.entered().await, BUILD);
    advance(WITHIN).await;
    let refusal = vetted.await.expect("no panic").err().expect("refused");
    assert_eq!(hung(&refusal), Some(BUILD));
}

#[tokio::test(start_paused = true)]
async fn each_step_has_its_time_to_itself() {
    let mut gate = gate();
    let vetted = gate.vet();
    for step in [VALIDATE, BUILD] {
        assert_eq!(gate.entered().await, step);
        advance(WITHIN * 9 / 10).await;
        gate.go_on.send(()).expect("the kind lives");
    }
    let refusal = vetted.await.expect("no panic").err().expect("refused");
    assert_eq!(hung(&refusal), None);
    assert!(refusal.to_string().contains("it is never built"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_built_for_a_caller_who_has_gone() {
    let mut gate = gate();
    let vetted = gate.vet();
    assert_eq!(gate.entered().await, VALIDATE);
    vetted.abort();
    assert!(vetted.await.is_err());
    gate.go_on.send(()).expect("the kind lives");
    // A build would have been entered by the time the thread leaves.
    while gate.vetting.turns["gated"].threads() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(gate.entered.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_no_other_until_as_many_hang_as_may() {
    let mut gate = gate();
    let mut hanging = Vec::new();
    for _ in 0..AT_ONCE {
        hanging.push(gate.vet());
        assert_eq!(gate.entered().await, VALIDATE, "at once, beside those that hang");
    }
    let waiting = gate.vet();
    advance(WITHIN).await;
    for vetted in hanging {
        let refusal = vetted.await.expect("no panic").err().expect("refused");
        assert_eq!(hung(&refusal), Some(VALIDATE));
    }
    gate.go_on.send(()).expect("the kind lives");
    assert_eq!(gate.entered().await, VALIDATE, "the place of one that has returned");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_turn_for_so_long() {
    let mut gate = gate();
    let hanging: Vec<_> = (0..AT_ONCE).map(|_| gate.vet()).collect();
    for _ in &hanging {
        assert_eq!(gate.entered().await, VALIDATE);
    }
    for _ in 0..3 {
        let given_up = gate.vet();
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.is_err());
    }
    let came = Instant::now();
    let last = gate.vet();
    tokio::task::yield_now().await;
    assert_eq!(gate.vetting.turns["gated"].waiting(), 1, "those that were given up are kept no longer");
    advance(QUEUE - Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    assert!(!last.is_finished());
    advance(Duration::from_millis(1)).await;
    let refusal = last.await.expect("no panic").err().expect("refused");
    assert_eq!((hung(&refusal), came.elapsed()), (Some(VALIDATE), QUEUE));
    assert!(gate.entered.try_recv().is_err(), "it was never made");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_calls_is_made_by_a_few_threads() {
    let mut gate = gate();
    let calls: Vec<_> = (0..3 * AT_ONCE).map(|_| gate.vet()).collect();
    for call in 0..2 * calls.len() {
        gate.entered().await;
        assert!(gate.vetting.turns["gated"].threads() <= AT_ONCE, "{call}");
        gate.go_on.send(()).expect("the kind lives");
    }
    for call in calls {
        let refusal = call.await.expect("no panic").err().expect("refused");
        assert_eq!(hung(&refusal), None, "{refusal}");
    }
}
