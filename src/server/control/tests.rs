use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::io::Lines;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use uuid::Uuid;

use super::*;

/// A data directory, gone at the end of its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("switchyard-control-{}{name}", Uuid::new_v4()));
        fs::create_dir(&path).expect("made");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("removed");
    }
}

/// Makes a file of seven bytes in the new directory.
fn copies() -> Copy {
    Arc::new(|dest: &Path| {
        let write = |source: std::io::Error| BackupError::Write { path: dest.to_owned(), source: source.into() };
        fs::create_dir(dest).map_err(write)?;
        fs::write(dest.join("journal"), "1234567").map_err(write)
    })
}

/// A copy that lasts until it is let go of.
fn lasting() -> (Copy, Receiver<()>, SyncSender<()>) {
    let (begun, begins) = sync_channel(1);
    let (let_go, held) = sync_channel(1);
    let held = Mutex::new(held);
    let copy = move |_: &Path| {
        begun.send(()).expect("awaited");
        // An error lets go, too.
        let _ = held.lock().expect("no panic").recv();
        Ok(())
    };
    (Arc::new(copy), begins, let_go)
}

struct Client {
    answers: Lines<BufReader<OwnedReadHalf>>,
    /// Held open.
    _requests: OwnedWriteHalf,
}

impl Client {
    async fn ask(directory: &Path, request: &str) -> Self {
        let stream = connect(directory).expect("listening");
        stream.set_nonblocking(true).expect("set");
        let (read, mut write) = UnixStream::from_std(stream).expect("registered").into_split();
        write.write_all(request.as_bytes()).await.expect("taken");
        Self { answers: BufReader::new(read).lines(), _requests: write }
    }

    /// The last answer.
    async fn answer(&mut self) -> Option<Answer> {
        let mut last = None;
        // A connection that is reset after the answer has ended as well.
        while let Ok(Some(line)) = self.answers.next_line().await {
            last = Some(serde_json::from_str(&line).expect("an answer"));
        }
        last
    }
}

fn backup(dest: &Path) -> String {
    serde_json::to_string(&Request::Backup { dest: dest.to_owned() }).expect("written") + "\n"
}

fn why(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer::Refused { why }) => why,
        other => panic!("must be refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_copy_is_made_and_its_size_told() {
    let directory = Directory::new("");
    let _control = Control::start(&directory.0, copies()).expect("listens");
    let mode = fs::metadata(directory.0.join(SOCKET)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let place = Directory::new("");
    let dest = place.0.join("copy");
    assert_eq!(Client::ask(&directory.0, &backup(&dest)).await.answer().await, Some(Answer::Done { bytes: 7 }));
    let again = why(Client::ask(&directory.0, &backup(&dest)).await.answer().await);
    assert!(again.starts_with(&format!("writing the backup to {}: ", dest.display())), "{again}");
}

#[tokio::test]
async fn no_copy_goes_into_the_data_directory_itself_whatever_leads_there() {
    let directory = Directory::new("");
    let _control = Control::start(&directory.0, copies()).expect("listens");
    let (below, place) = (directory.0.join("below"), Directory::new(""));
    fs::create_dir(&below).expect("made");
    let link = place.0.join("link");
    std::os::unix::fs::symlink(&below, &link).expect("linked");
    for dest in [directory.0.join("copy"), below.join("copy"), link.join("copy")] {
        let why = why(Client::ask(&directory.0, &backup(&dest)).await.answer().await);
        assert!(why.contains("lies in the data directory itself") && !dest.exists(), "{why}");
    }
    let beside = below.join("../..").join(place.0.file_name().expect("named")).join("copy");
    assert_eq!(Client::ask(&directory.0, &backup(&beside)).await.answer().await, Some(Answer::Done { bytes: 7 }));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let directory = Directory::new("");
    let _control = Control::start(&directory.0, copies()).expect("listens");
    let too_long = "x".repeat(40_000);
    for (request, expected) in [
        ("{}\n", "does not understand"),
        ("{\"restore\":{}}\n", "does not understand"),
        ("{\"backup\":{\"dest\":\"here\"}}\n", "must be an absolute path"),
        (too_long.as_str(), "does not understand"),
    ] {
        let why = why(Client::ask(&directory.0, request).await.answer().await);
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_for_nothing_is_hung_up_on() {
    let directory = Directory::new("");
    let _control = Control::start(&directory.0, copies()).expect("listens");
    let mut client = Client::ask(&directory.0, "{").await;
    assert!(why(client.answer().await).contains("in time"));
}

#[tokio::test]
async fn copies_are_made_one_at_a_time_and_outlive_their_client() {
    let directory = Directory::new("");
    let (copy, begins, let_go) = lasting();
    let _control = Control::start(&directory.0, copy).expect("listens");
    let place = Directory::new("");
    let dest = place.0.join("copy");
    let first = Client::ask(&directory.0, &backup(&dest)).await;
    let begins = spawn_blocking(move || {
        begins.recv().expect("begun");
        begins
    });
    let begins = begins.await.expect("no panic");
    drop(first);
    assert!(why(Client::ask(&directory.0, &backup(&dest)).await.answer().await).contains("another backup"));
    let_go.send(()).expect("held");
    // Until the copy has let go of its permit, there is none for the next.
    let mut begun = spawn_blocking(move || begins.recv());
    let mut next = loop {
        let mut client = Client::ask(&directory.0, &backup(&dest)).await;
        tokio::select! {
            answer = client.answer() => assert!(why(answer).contains("another backup")),
            begun = &mut begun => {
                begun.expect("no panic").expect("begun");
                break client;
            }
        }
    };
    let_go.send(()).expect("held");
    assert_eq!(next.answer().await, Some(Answer::Done { bytes: 0 }));
}

#[tokio::test]
async fn a_socket_that_was_left_there_is_replaced_and_none_stays() {
    // Longer than the kernel takes for a socket's address.
    let directory = Directory::new(&"-".repeat(120));
    drop(at(&directory.0, |path| blocking::UnixListener::bind(path)).expect("bound"));
    let control = Control::start(&directory.0, copies()).expect("listens");
    let place = Directory::new("");
    let mut client = Client::ask(&directory.0, &backup(&place.0.join("copy"))).await;
    assert_eq!(client.answer().await, Some(Answer::Done { bytes: 7 }));
    drop(control);
    assert!(!directory.0.join(SOCKET).exists() && connect(&directory.0).is_err());
}
