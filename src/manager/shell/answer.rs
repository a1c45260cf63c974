//! What is asked of the loop, and its answers.

use super::{Shell, Turn};
use crate::journal::{Condition, Release};
use crate::lifecycle::{Effect, Input, Reply};
use crate::manager::handle::{Request, With};
use crate::model::{Admission, Refusal, Sequence};

/// What an answer waits for.
enum Waiting {
    Commit,
    Nothing,
    /// A commit that may not come for long.
    InVain,
}

impl Shell {
    pub(super) fn on_request(&mut self, request: Request, turn: &mut Turn) {
        match request {
            Request::Command { command, with, answer } => {
                let unanswered = command.unanswered();
                // The client may have stopped waiting.
                let tell = move |reply| drop(answer.send(reply));
                self.answered(Input::Command(command), with, (tell, unanswered), turn);
            }
            Request::Call { call, caller } => {
                let tell = move |reply| caller.tell(reply);
                self.answered(Input::Call(call), With::default(), (tell, Refusal::JournalStalled), turn);
            }
            // Whoever asked may have stopped waiting.
            Request::Sync(tell) => {
                let drains = self.lifecycle.is_draining();
                turn.at_once.push(Box::new(move || tell.send(drains).unwrap_or_default()));
            }
            Request::Drain { bound, cause, begun, done } => {
                self.drained.push(done);
                let bound = self.clock.now().mono + bound;
                self.step(Input::Drain { bound, cause }, turn);
                if let Some(begun) = begun {
                    let after = self.lifecycle.draining_since();
                    let run = Box::new(move || {
                        // Whoever asked may have stopped waiting.
                        let _ = begun.send(after);
                    });
                    turn.releases.push(Release { after, run });
                }
            }
        }
    }

    /// Feeds what is to be answered in its own step. `unanswered` is what there is to say where the answer waits in vain.
    fn answered(
        &mut self,
        input: Input,
        mut with: With,
        (tell, unanswered): (impl FnOnce(Result<Reply, Refusal>) + Send + 'static, Refusal),
        turn: &mut Turn,
    ) {
        let mut tell = Some(tell);
        let is_call = matches!(input, Input::Call(_));
        for effect in self.lifecycle.step(input, self.clock.now()) {
            match effect {
                Effect::Answer { after, reply } => {
                    let Some(tell) = tell.take() else { continue };
                    // Nothing of a call is remembered by a commit: who is told that it was in vain must be able to ask again.
                    let is_there = is_call && after <= self.wiring.journal.view().head();
                    match if is_there { Waiting::Nothing } else { self.waiting(after) } {
                        Waiting::Commit => turn.releases.push(Release { after, run: Box::new(move || tell(reply)) }),
                        Waiting::Nothing => turn.at_once.push(Box::new(|| tell(reply))),
                        Waiting::InVain => {
                            let refusal = reply.map_or(Refusal::JournalStalled, |_| unanswered.clone());
                            turn.at_once.push(Box::new(|| tell(Err(refusal))));
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
