//! A file that keeps a watch's place between runs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::future::pending;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Failure;

/// The time between two saves: what a killed watch may have shown without having saved it.
const INTERVAL: Duration = Duration::from_millis(250);
/// A cursor is shorter (`contract.md`); there may be white space around it.
const MOST_BYTES: u64 = 1_024;

/// The file. Only what has been shown gets into it.
pub(super) struct CursorFile {
    path: PathBuf,
    saved: Option<String>,
    unsaved: Option<String>,
    next_save: Instant,
}

impl CursorFile {
    /// Reads the file, if there is one, and replaces it by the same: where that cannot be done, it is better known now than after the
    /// first event. What is not there is written by the first save, which comes with the head's cursor.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let saved = read(&path).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
        let file = Self { path, saved, unsaved: None, next_save: Instant::now() };
        file.saved.as_deref().map_or(Ok(()), |saved| file.write(saved))?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where to go on; `None` in the first run.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.unsaved.as_deref().or(self.saved.as_deref())
    }

    /// Whether nothing was ever saved.
    pub(super) fn is_new(&self) -> bool {
        self.saved.is_none()
    }

    /// Notes how far the watch has come.
    pub(super) fn note(&mut self, cursor: &str) {
        if self.cursor() != Some(cursor) {
            self.unsaved = Some(cursor.to_owned());
        }
    }

    /// Waits until there is something to save, and may be saved.
    pub(super) async fn due(&self) {
        match self.unsaved {
            Some(_) => sleep_until(self.next_save).await,
            None => pending().await,
        }
    }

    /// Saves what is not saved yet.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let Some(cursor) = self.unsaved.take() else { return Ok(()) };
        self.write(&cursor)?;
        self.saved = Some(cursor);
        self.next_save = Instant::now() + INTERVAL;
        Ok(())
    }

    fn write(&self, cursor: &str) -> Result<(), Failure> {
        let failed = |error| Failure::Local(format!("cannot write {}: {error}", self.path.display()));
        write(&self.path, cursor).map_err(failed)
    }
}

fn read(path: &Path) -> Result<Option<String>, String> {
    let mut text = String::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    if !file.metadata().is_ok_and(|file| file.is_file()) {
        return Err("is no file, and would be replaced by one".to_owned());
    }
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    match text.trim() {
        cursor if !cursor.is_empty() && cursor.chars().all(|c| c.is_ascii_graphic()) => Ok(Some(cursor.to_owned())),
        _ => Err("holds no cursor; delete it to begin now".to_owned()),
    }
}

/// Replaces the file as a whole: whoever reads it finds the old cursor or the new one, after a crash of the system too.
fn write(path: &Path, cursor: &str) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    // Of a process that was killed, and had this number.
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{cursor}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The error that counts is the first.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("switchyard-cursor-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&path).expect("created");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("removed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn saves_are_some_time_apart_and_the_last_cursor_is_kept() {
        let directory = Directory::new();
        let path = directory.0.join("cursor");
        let mut file = CursorFile::open(&path).expect("none yet");
        assert_eq!(file.cursor(), None);
        file.note("c1");
        let began = Instant::now();
        file.due().await;
        file.save().expect("written");
        assert_eq!((began.elapsed(), file.cursor()), (Duration::ZERO, Some("c1")));
        file.note("c2");
        file.note("c3");
        file.due().await;
        assert_eq!(began.elapsed(), INTERVAL);
        file.save().expect("written");
        file.save().expect("nothing to write");
        assert_eq!(CursorFile::open(&path).expect("written").cursor(), Some("c3"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory.0).expect("there").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_no_cursor_is_refused_and_left_alone() {
        let directory = Directory::new();
        let path = directory.0.join("file");
        for text in ["", "\n", "two words", "ä"] {
            fs::write(&path, text).expect("written");
            let Err(Failure::Usage(why)) = CursorFile::open(&path) else { panic!("{text:?} must be refused") };
            assert!(why.ends_with("holds no cursor; delete it to begin now"), "{why}");
        }
        assert!(matches!(CursorFile::open(&directory.0), Err(Failure::Usage(_))));
        assert!(matches!(CursorFile::open(Path::new("/dev/null")), Err(Failure::Usage(_))));
    }

    /// A name that leaves no room for the temporary file's: like a directory that is read-only, but for root, too.
    #[test]
    fn a_file_that_cannot_be_replaced_is_told_of_before_anything_is_shown() {
        let directory = Directory::new();
        let path = directory.0.join("c".repeat(250));
        fs::write(&path, "c1\n").expect("written");
        let Err(Failure::Local(why)) = CursorFile::open(&path) else { panic!("must be refused") };
        assert!(why.starts_with(&format!("cannot write {}: ", path.display())), "{why}");
        assert_eq!(read(&path), Ok(Some("c1".to_owned())));
        assert_eq!(fs::read_dir(&directory.0).expect("there").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = Directory::new();
        let (link, target) = (directory.0.join("link"), directory.0.join("target"));
        fs::write(&target, "c1\n").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let mut file = CursorFile::open(&link).expect("read");
        file.note("c2");
        file.save().expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(CursorFile::open(&target).expect("read").cursor(), Some("c2"));
    }
}
