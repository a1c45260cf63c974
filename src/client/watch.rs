//! A watch that outlives its connections.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::backoff::Backoff;
use super::patience::Patience;
use super::{DEADLINE, Error, Outlook};
use crate::pb::v1;
use v1::circuit_service_client::CircuitServiceClient;
use v1::task_service_client::TaskServiceClient;
use v1::watch_circuits_request::Start as CircuitsStart;
use v1::watch_tasks_request::Start;

/// Follows events across reconnects. From the cursor of the last frame it resumes exactly where that frame ended: nothing is
/// lost, nothing is repeated. Where the server no longer has what comes next, it says so (OUT_OF_RANGE, CURSOR_EXPIRED) and
/// the watch ends with that error: a gap is never hidden.
#[derive(Debug)]
pub struct Watch {
    service: Service,
    request: v1::WatchTasksRequest,
    cursor: Option<String>,
    established: bool,
    phase: Phase,
    patience: Patience,
    backoff: Backoff,
}

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// Some of what was asked for came.
    Frame {
        /// Events, in order; empty in a bookmark.
        events: Vec<v1::Event>,
        /// A part of the initial state.
        tasks: Vec<v1::Task>,
        /// In a watch of circuits: a part of the initial state, or circuits as they stand after something has changed them.
        circuits: Vec<v1::Circuit>,
        /// The initial state is complete.
        initial_complete: bool,
    },
    /// The stream broke; the next call of `Watch::next` waits and connects again.
    Lost {
        /// Why.
        error: Error,
        /// How long it will wait.
        retry_in: Duration,
    },
    /// The stream stands again.
    Resumed {
        /// It had broken within the initial state, which is sent anew: what came of it is void.
        anew: bool,
    },
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Streaming(Frames),
    Waiting(Instant),
    Ended,
}

/// What is watched.
#[derive(Clone, Debug)]
enum Service {
    Tasks(TaskServiceClient<Channel>),
    Circuits(CircuitServiceClient<Channel>),
}

#[derive(Debug)]
enum Frames {
    Tasks(Box<Streaming<v1::WatchTasksResponse>>),
    Circuits(Box<Streaming<v1::WatchCircuitsResponse>>),
}

struct Frame {
    events: Vec<v1::Event>,
    tasks: Vec<v1::Task>,
    circuits: Vec<v1::Circuit>,
    initial_complete: bool,
    cursor: String,
}

impl Service {
    async fn open(&mut self, request: v1::WatchTasksRequest) -> Result<Frames, Status> {
        match self {
            Self::Tasks(tasks) => Ok(Frames::Tasks(Box::new(tasks.watch_tasks(request).await?.into_inner()))),
            Self::Circuits(circuits) => {
                // Such a watch was made of a request that had no more than this.
                let v1::WatchTasksRequest { parent, filter, start, view: _, end_cursor: _ } = request;
                let start = start.map(|start| match start {
                    Start::Cursor(cursor) => CircuitsStart::Cursor(cursor),
                    Start::SendInitialState(send) => CircuitsStart::SendInitialState(send),
                });
                let request = v1::WatchCircuitsRequest { parent, filter, start };
                Ok(Frames::Circuits(Box::new(circuits.watch_circuits(request).await?.into_inner())))
            }
        }
    }
}

impl Frames {
    async fn message(&mut self) -> Result<Option<Frame>, Status> {
        match self {
            Self::Tasks(frames) => Ok(frames.message().await?.map(|frame| {
                let v1::WatchTasksResponse { events, tasks, initial_complete, cursor } = frame;
                Frame { events, tasks, circuits: Vec::new(), initial_complete, cursor }
            })),
            Self::Circuits(frames) => Ok(frames.message().await?.map(|frame| {
                let v1::WatchCircuitsResponse { events, circuits, initial_complete, cursor } = frame;
                Frame { events, tasks: Vec::new(), circuits, initial_complete, cursor }
            })),
        }
    }
}

impl Watch {
    pub(super) fn of_tasks(tasks: TaskServiceClient<Channel>, request: v1::WatchTasksRequest) -> Self {
        Self::new(Service::Tasks(tasks), request)
    }

    pub(super) fn of_circuits(circuits: CircuitServiceClient<Channel>, request: v1::WatchCircuitsRequest) -> Self {
        let v1::WatchCircuitsRequest { parent, filter, start } = request;
        let start = start.map(|start| match start {
            CircuitsStart::Cursor(cursor) => Start::Cursor(cursor),
            CircuitsStart::SendInitialState(send) => Start::SendInitialState(send),
        });
        let request = v1::WatchTasksRequest { parent, filter, start, ..v1::WatchTasksRequest::default() };
        Self::new(Service::Circuits(circuits), request)
    }

    fn new(service: Service, request: v1::WatchTasksRequest) -> Self {
        let cursor = match &request.start {
            Some(Start::Cursor(cursor)) => Some(cursor.clone()),
            Some(Start::SendInitialState(_)) | None => None,
        };
        let (phase, patience, backoff) = (Phase::Connecting, Patience::default(), Backoff::new());
        Self { service, request, cursor, established: false, phase, patience, backoff }
    }

    /// Where a later watch would resume: right after the last frame that `next` returned. `None` before the first cursor.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Opens the stream, where a cursor alone does not do: a server that ends takes no watch any more once it has come to the streams,
    /// and ends those that stand with everything there was. Call it first; `next` does it otherwise.
    pub async fn open(&mut self) -> Result<(), Error> {
        if matches!(self.phase, Phase::Connecting) && !self.established {
            self.connect().await?;
        }
        Ok(())
    }

    /// What comes next. An error is final: the first connection failed, or the server refused (which a lost connection is
    /// not). May be dropped while it waits, and called again, without losing anything.
    pub async fn next(&mut self) -> Result<Update, Error> {
        let update = self.next_before_end().await?;
        update.ok_or_else(|| Error::new(Code::OutOfRange, "the watch has come to the end that it was given"))
    }

    /// What comes next, as by [`next`](Self::next); `None` once a watch with an `end_cursor` has come to it.
    pub async fn next_before_end(&mut self) -> Result<Option<Update>, Error> {
        loop {
            let update = match &mut self.phase {
                Phase::Connecting => self.connect().await?,
                Phase::Streaming(_) => self.receive().await?,
                Phase::Waiting(_) => self.wait().await,
                Phase::Ended => return Ok(None),
            };
            if update.is_some() {
                return Ok(update);
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<Update>, Error> {
        let mut request = self.request.clone();
        if let Some(cursor) = &self.cursor {
            request.start = Some(Start::Cursor(cursor.clone()));
        }
        // The deadline is for the answer's head only, so the server is not told of it: it would end the stream.
        let answer = timeout(DEADLINE, self.service.open(request)).await;
        match answer {
            Ok(Ok(frames)) => {
                self.phase = Phase::Streaming(frames);
                Ok(self.established.then_some(Update::Resumed { anew: self.cursor.is_none() }))
            }
            Ok(Err(status)) => self.lose(status.into()).map(Some),
            Err(_) => self.lose(Error::deadline(DEADLINE)).map(Some),
        }
    }

    async fn receive(&mut self) -> Result<Option<Update>, Error> {
        let Phase::Streaming(stream) = &mut self.phase else { return Ok(None) };
        match self.patience.wait_for(stream.message()).await {
            Ok(Some(frame)) => Ok(Some(self.accept(frame))),
            Ok(None) if !self.request.end_cursor.is_empty() => {
                self.phase = Phase::Ended;
                Ok(None)
            }
            // The contract ends all others with a status; one that ends without was cut on its way.
            Ok(None) => self.lose(Error::new(Code::Unavailable, "the stream was cut")).map(Some),
            Err(error) => self.lose(error).map(Some),
        }
    }

    async fn wait(&mut self) -> Option<Update> {
        if let Phase::Waiting(until) = self.phase {
            sleep_until(until).await;
        }
        self.phase = Phase::Connecting;
        None
    }

    fn accept(&mut self, frame: Frame) -> Update {
        let Frame { events, tasks, circuits, initial_complete, cursor } = frame;
        if !cursor.is_empty() {
            self.cursor = Some(cursor);
        }
        self.established = true;
        self.backoff = Backoff::new();
        Update::Frame { events, tasks, circuits, initial_complete }
    }

    /// A watch that has stood before comes back after whatever passes by itself; one that never stood fails at once, so that
    /// a wrong address is told and not waited for.
    fn lose(&mut self, error: Error) -> Result<Update, Error> {
        self.phase = Phase::Connecting;
        if !self.established || error.outlook() == Outlook::ForGood {
            return Err(error);
        }
        let retry_in = self.backoff.wait(error.retry_after);
        self.phase = Phase::Waiting(Instant::now() + retry_in);
        Ok(Update::Lost { error, retry_in })
    }
}
