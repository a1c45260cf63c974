//! Answering commands.

use tokio::sync::oneshot;

use super::{Shell, Turn, With};
use crate::journal::{Condition, Release};
use crate::lifecycle::{Command, Effect, Input, Reply};
use crate::model::{Admission, Refusal, Sequence};

/// What an answer waits for.
enum Waiting {
    Commit,
    Nothing,
    /// A commit that may not come for long.
    InVain,
}

impl Shell {
    pub(super) fn on_command(
        &mut self,
        command: Command,
        mut with: With,
        answer: oneshot::Sender<Result<Reply, Refusal>>,
        turn: &mut Turn,
    ) {
        let mut answer = Some(answer);
        let unanswered = command.unanswered();
        for effect in self.lifecycle.step(Input::Command(command), self.clock.now()) {
            match effect {
                Effect::Answer { after, reply } => {
                    let Some(answer) = answer.take() else { continue };
                    match self.waiting(after) {
                        Waiting::Commit => {
                            // The caller may have stopped waiting.
                            let run = Box::new(move || drop(answer.send(reply)));
                            turn.releases.push(Release { after, run });
                        }
                        Waiting::Nothing => turn.at_once.push(Box::new(|| drop(answer.send(reply)))),
                        Waiting::InVain => {
                            let refusal = reply.map_or(Refusal::JournalStalled, |_| unanswered.clone());
                            turn.at_once.push(Box::new(|| drop(answer.send(Err(refusal)))));
                        }
                    }
                }
                Effect::Launch(_) | Effect::CheckNow(_) => turn.actions.push((effect, std::mem::take(&mut with))),
                effect => self.gather(effect, turn),
            }
        }
    }

    /// What an answer waits for. While the journal is open it is the commit, which also makes the request remembered; where that may
    /// take long, who can be answered already is, and as long as it is stalled nobody else waits: what piles up behind a store that
    /// does not write must have a bound.
    fn waiting(&self, after: Sequence) -> Waiting {
        match self.condition {
            condition if condition.admission() == Admission::Open => Waiting::Commit,
            _ if after <= self.wiring.journal.view().head() => Waiting::Nothing,
            Condition { stalled: true, .. } => Waiting::InVain,
            Condition { .. } => Waiting::Commit,
        }
    }
}
