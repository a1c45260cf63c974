//! The control socket in the data directory: what a tool on the same machine asks of the server that holds the directory. Whoever
//! can get at the directory may ask.
//!
//! Lines of JSON: a request, then answers until the connection ends.
//!
//! ```text
//! {"backup":{"dest":"/var/backups/switchyard-1"}}
//!   {"running":{"seconds":1}}
//!   {"done":{"bytes":1048576}}      or      {"refused":{"why":"…"}}
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net as blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::chain;
use crate::journal::BackupError;

/// The socket's name in the data directory.
const SOCKET: &str = "control";
const SOCKET_MODE: u32 = 0o600;
/// What the kernel takes for a socket's address, with its end.
const ADDRESS_BYTES: usize = 108;
/// A path is at most 4 KiB long, and JSON may take six bytes for one.
const REQUEST_BYTES: u64 = 32 * 1024;
/// How long a client may take to say what it wants, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a client hears that it goes on; it gives up after several times this.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// Clients at once: one that is served, and some to be told so.
const CLIENTS: usize = 8;
/// The pause after the system has refused a connection, as for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// Copies the store to a new directory. Blocks.
pub(super) type Copy = Arc<dyn Fn(&Path) -> Result<(), BackupError> + Send + Sync>;

/// What a client asks for.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Request {
    /// Copy the store to a new directory.
    Backup { dest: PathBuf },
}

/// What it hears.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// It goes on.
    Running { seconds: u64 },
    /// It is there, and this large.
    Done { bytes: u64 },
    /// It was not done.
    Refused { why: String },
}

/// Answers at the socket, until it is dropped. That does not end a copy that is under way.
pub(super) struct Control {
    path: PathBuf,
    _serving: AbortOnDropHandle<()>,
}

impl Control {
    /// Listens in the data directory, which this process holds: what another left there is no longer in use.
    pub(super) fn start(directory: &Path, copy: Copy) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) | Err(_) => {}
        }
        let listener = at(directory, |path| UnixListener::bind(path))?;
        // The directory keeps others out; this is for one whose mode somebody has changed.
        fs::set_permissions(&path, fs::Permissions::from_mode(SOCKET_MODE))?;
        let served = Served { directory: directory.into(), copy, copying: Arc::new(Semaphore::new(1)) };
        Ok(Self { path, _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, served))) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What is left there is taken away by the next server.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the server that holds the directory.
pub(super) fn connect(directory: &Path) -> io::Result<blocking::UnixStream> {
    at(directory, |path| blocking::UnixStream::connect(path))
}

/// Does something with the socket's path; where that is longer than the kernel takes, by a descriptor of the directory.
fn at<T>(directory: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(SOCKET);
    if path.as_os_str().len() < ADDRESS_BYTES {
        return act(&path);
    }
    let directory = fs::File::open(directory)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
    act(&Path::new("/proc/self/fd").join(descriptor.to_string()).join(SOCKET))
}

/// What clients are served with.
#[derive(Clone)]
struct Served {
    directory: Arc<Path>,
    copy: Copy,
    /// One copy at a time.
    copying: Arc<Semaphore>,
}

async fn serve(listener: UnixListener, served: Served) {
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS {
            // What a client came to, it was told.
            drop(clients.join_next().await);
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(clients.spawn(attend(stream, served.clone()))),
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket was refused");
                sleep(REFUSED).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Serves one client. An error means that it has gone.
async fn attend(stream: UnixStream, served: Served) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut client = Client(write);
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES));
    let Ok(asked) = timeout(PATIENCE, read.read_line(&mut line)).await else {
        return client.refuse("nothing was asked for in time").await;
    };
    asked?;
    match serde_json::from_str(&line) {
        Ok(Request::Backup { dest }) if !dest.is_absolute() => {
            client.refuse("the destination must be an absolute path").await
        }
        Ok(Request::Backup { dest }) => match Arc::clone(&served.copying).try_acquire_owned() {
            Ok(permit) => client.copy(served, dest, permit).await,
            Err(_) => client.refuse("another backup is being made; try again when it is done").await,
        },
        Err(error) => client.refuse(&format!("this server does not understand the request: {error}")).await,
    }
}

/// Who hears the answers.
struct Client(tokio::net::unix::OwnedWriteHalf);

impl Client {
    async fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.answer(&Answer::Refused { why: why.to_owned() }).await
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        let line = serde_json::to_string(answer)? + "\n";
        timeout(PATIENCE, self.0.write_all(line.as_bytes())).await?
    }

    /// Copies the store, and tells meanwhile that it goes on. The permit is the copy's, not the client's, who may go.
    async fn copy(&mut self, served: Served, dest: PathBuf, permit: OwnedSemaphorePermit) -> io::Result<()> {
        let to = dest.clone();
        let mut copied = spawn_blocking(move || {
            let _permit = permit;
            if lies_in(&to, &served.directory) {
                return Err(would_lie_in(&to, &served.directory));
            }
            (served.copy)(&to).map_err(|error| chain(&error))?;
            Ok(size(&to))
        });
        let mut pulse = interval(PULSE);
        pulse.tick().await;
        let mut seconds = 0;
        let copied = loop {
            tokio::select! {
                copied = &mut copied => break copied,
                _ = pulse.tick() => {
                    seconds += PULSE.as_secs();
                    self.answer(&Answer::Running { seconds }).await?;
                }
            }
        };
        self.answer(&outcome(copied, &dest)).await
    }
}

fn outcome(copied: Result<Result<u64, String>, JoinError>, dest: &Path) -> Answer {
    let why = match copied {
        Ok(Ok(bytes)) => {
            tracing::info!(dest = %dest.display(), bytes, "the store was copied");
            return Answer::Done { bytes };
        }
        Ok(Err(why)) => why,
        Err(_) => "an error of the server's own; its log says more".to_owned(),
    };
    tracing::warn!(dest = %dest.display(), why, "the store was not copied");
    Answer::Refused { why }
}

/// Whether something that need not be there yet would lie in a directory, whatever links lead there.
pub(super) fn lies_in(path: &Path, directory: &Path) -> bool {
    let parent = path.parent().map(fs::canonicalize);
    matches!((parent, fs::canonicalize(directory)), (Some(Ok(parent)), Ok(directory)) if parent.starts_with(&directory))
}

/// Why no backup goes there.
pub(super) fn would_lie_in(dest: &Path, directory: &Path) -> String {
    let (dest, directory) = (dest.display(), directory.display());
    format!("{dest} lies in the data directory itself, {directory}, and would be lost with it; choose a place outside")
}

/// How many bytes the files of a directory have.
pub(super) fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests;
