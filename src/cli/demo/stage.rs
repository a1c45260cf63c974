//! Where the story plays: it tells what the server's event stream and answers say, as they come, and waits for facts.

use std::future::Future;
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use super::line;
use super::specs::name;
use crate::cli::output::{Paint, Tone, out};
use crate::cli::{Failure, words};
use crate::client::{self, Client, Update, Watch};
use crate::pb::v1;

/// How long a fact may take that comes within seconds where all is well.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look at what makes no event.
const LOOK: Duration = Duration::from_millis(100);

/// The audience's view.
pub(super) struct Stage {
    pub(super) client: Client,
    watch: Watch,
    /// Every event so far, and how many of them have been waited for.
    seen: Vec<v1::Event>,
    passed: usize,
    /// The end of the stream, where it has come.
    ended: Option<client::Error>,
    /// Of the task's swap, as it was last told.
    swap_phase: i32,
    began: Timestamp,
    pause: Duration,
    paint: Paint,
}

impl Stage {
    /// Connects, and stands once the stream does: nothing that happens from then on is missed. `pause` is for reading.
    pub(super) async fn open(server: &str, pause: Duration) -> Result<Self, Failure> {
        let client = Client::connect(server).await?;
        let watch = client
            .watch(v1::WatchTasksRequest { view: v1::EventView::Full.into(), ..v1::WatchTasksRequest::default() });
        let mut stage = Self {
            client,
            watch,
            seen: Vec::new(),
            passed: 0,
            ended: None,
            swap_phase: v1::SwapPhase::Unspecified.into(),
            began: SystemTime::now().into(),
            pause,
            paint: Paint::auto(),
        };
        // The first frame is an empty one.
        stage.receive().await?;
        Ok(stage)
    }

    /// Begins a chapter, and leaves time to read what it is about.
    pub(super) async fn chapter(&mut self, title: &str, text: &str) -> Result<(), Failure> {
        out(&format!("\n{}\n{text}\n\n", self.paint.text(Tone::Title, title)))?;
        let pause = self.pause;
        self.during(sleep(pause)).await
    }

    /// Tells something that is no event: what was done, or what a call has answered.
    pub(super) fn tell(&self, what: &str, whom: &str, text: &str) -> Result<(), Failure> {
        out(&line::aside(&self.began, what, whom, text, self.paint))
    }

    /// Tells events until `action` is done.
    pub(super) async fn during<T>(&mut self, action: impl Future<Output = T>) -> Result<T, Failure> {
        let mut action = std::pin::pin!(action);
        loop {
            tokio::select! {
                done = &mut action => return Ok(done),
                received = self.receive() => received?,
            }
        }
    }

    /// Tells events until one of the type comes for the task, or finds it among those that came since the last one waited for.
    pub(super) async fn until(&mut self, id: &str, kind: v1::EventType) -> Result<v1::Event, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let fits = |event: &v1::Event| event.r#type() == kind && words::id(&event.name) == id;
        loop {
            if let Some(found) = self.seen[self.passed..].iter().position(fits) {
                self.passed += found + 1;
                return Ok(self.seen[self.passed - 1].clone());
            }
            let what = || format!("{} {id}", words::event_type(kind.into()));
            if let Some(error) = &self.ended {
                return Err(Failure::Negative(format!("error: the stream ended before {}: {error}", what())));
            }
            timeout_at(deadline, self.receive()).await.map_err(|_late| missing(&what()))??;
        }
    }

    /// Whether such an event has come at any time.
    pub(super) fn has_seen(&self, id: &str, kind: v1::EventType) -> bool {
        self.seen.iter().any(|event| event.r#type() == kind && words::id(&event.name) == id)
    }

    /// Looks at a task until it is as wanted.
    pub(super) async fn look(&mut self, id: &str, wanted: impl Fn(&v1::Task) -> bool) -> Result<v1::Task, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let client = self.client.clone();
            let answer = self.during(client.get(v1::GetTaskRequest { name: name(id) })).await??;
            match answer.task {
                Some(task) if wanted(&task) => return Ok(task),
                _ if Instant::now() >= deadline => return Err(missing(&format!("what GetTask should say of {id}"))),
                _ => self.during(sleep(LOOK)).await?,
            }
        }
    }

    /// Waits for something that the target's log has to show.
    pub(super) async fn until_logged(&mut self, logged: impl Fn() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !logged() {
            if Instant::now() >= deadline {
                return Err(missing("the requests that the target should have got"));
            }
            self.during(sleep(LOOK)).await?;
        }
        Ok(())
    }

    /// Tells events until the stream has ended; why it did.
    pub(super) async fn until_ended(&mut self) -> Result<client::Error, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(error) = &self.ended {
                return Ok(error.clone());
            }
            timeout_at(deadline, self.receive()).await.map_err(|_late| missing("the end of the stream"))??;
        }
    }

    /// Tells what the stream brings next. May be dropped while it waits without losing anything.
    async fn receive(&mut self) -> Result<(), Failure> {
        if self.ended.is_some() {
            // There is nothing left to tell; whoever waits for something else goes on.
            return std::future::pending().await;
        }
        match self.watch.next().await? {
            Update::Frame { events, .. } => events.into_iter().try_for_each(|event| self.show(event)),
            Update::Lost { error, .. } => {
                self.ended = Some(error);
                Ok(())
            }
            Update::Resumed { .. } => Ok(()),
        }
    }

    fn show(&mut self, event: v1::Event) -> Result<(), Failure> {
        let phase = event.task.as_ref().and_then(|task| task.swap.as_ref()).map_or(self.swap_phase, |swap| swap.phase);
        let phase = (phase != std::mem::replace(&mut self.swap_phase, phase)).then_some(phase);
        out(&line::event(&self.began, &event, phase, self.paint))?;
        self.seen.push(event);
        Ok(())
    }
}

fn missing(what: &str) -> Failure {
    Failure::Negative(format!("error: {what} did not come within {}", words::rough(PATIENCE)))
}
