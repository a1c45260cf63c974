use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc;
use tokio::time::advance;

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
    // The same turn's thread: a build would have been entered by then, and holds its place.
    let all = u32::try_from(AT_ONCE).expect("a few");
    let turns = Arc::clone(&gate.vetting.turns["gated"]);
    let _turns = turns.acquire_many_owned(all).await.expect("never closed");
    assert!(gate.entered.try_recv().is_err());
}
