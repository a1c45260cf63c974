//! What clients see is the fold of what is stored, at every sequence: from the trim point on, the tasks there were and then the
//! images.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::history::{Fold, History, read_all};
use super::media::Disk;
use crate::journal::testing::{sequence, start};
use crate::journal::{Append, EmbeddedStore, Journal, Release, Retention, Store};
use crate::model::{Event, TaskName};

/// What the journal showed, and when.
type Shown = Arc<Mutex<BTreeMap<u64, BTreeMap<TaskName, Arc<crate::model::Task>>>>>;

fn append(journal: &Journal, events: &[Arc<Event>], shown: &Shown) {
    let after = events.last().expect("some").sequence;
    let (reader, shown) = (journal.clone(), Arc::clone(shown));
    let run = Box::new(move || {
        let view = reader.view();
        let tasks = view.tasks().map(|task| (task.name.clone(), Arc::clone(task))).collect();
        shown.lock().expect("no panic").insert(view.head().get(), tasks);
    });
    let events = events.iter().map(|event| Event::clone(event)).collect();
    journal.append(Append { events, requests: Vec::new(), releases: vec![Release { after, run }] });
}

fn by_name(fold: &Fold) -> BTreeMap<TaskName, Arc<crate::model::Task>> {
    fold.tasks.values().map(|task| (task.name.clone(), Arc::clone(task))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_view_is_the_fold_of_the_stored_log_at_every_sequence(
        seed in any::<u64>(),
        groups in 1..60_usize,
        most in 1..12_usize,
        kept in 1..200_u64,
    ) {
        let disk = Disk::default();
        let retention = Retention { events: Some(kept), ..Retention::default() };
        let store = EmbeddedStore::with_medium(disk.clone(), retention).expect("opened");
        let (journal, writer) = start(store, 8);
        let mut history = History::new(seed, 7);
        let shown = Shown::default();
        let mut folds = vec![Fold::default()];
        for _ in 0..groups {
            let batch = history.batch(most);
            for event in &batch.events {
                let mut fold = folds.last().expect("some").clone();
                fold.apply(event);
                folds.push(fold);
            }
            append(&journal, &batch.events, &shown);
        }
        prop_assert!(writer.close(Duration::from_secs(60)));
        for (head, tasks) in &*shown.lock().expect("no panic") {
            prop_assert_eq!(tasks, &by_name(&folds[usize::try_from(*head).expect("small")]));
        }

        let mut store = EmbeddedStore::with_medium(disk, retention).expect("opened");
        let reader = store.reader();
        let (oldest, head) = (reader.oldest().get(), folds.len() as u64 - 1);
        prop_assert!(head - oldest >= kept.min(head));
        let mut fold = folds[usize::try_from(oldest).expect("small")].clone();
        for event in read_all(&*reader, oldest, head) {
            fold.apply(&event);
            prop_assert_eq!(&fold, &folds[usize::try_from(event.sequence.get()).expect("small")]);
        }
        prop_assert_eq!(fold.head, head);
        let recovered = Fold::of(&store.recover().expect("read"));
        prop_assert_eq!(&recovered.tasks, &fold.tasks);
        let (journal, _writer) = start(store, 8);
        prop_assert_eq!(journal.view().head(), sequence(folds.len() - 1));
    }
}
