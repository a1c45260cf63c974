use super::*;
use crate::journal::testing::{created, event, sequence, shared, task};
use crate::model::EventType;

fn arguments(parent: &str, filter: &str) -> Arguments {
    Arguments { of: "tasks", parent: Parent::parse(parent).expect("valid"), filter: filter.to_owned() }
}

fn all() -> Arguments {
    arguments("namespaces/default", "")
}

fn view(tasks: usize) -> Arc<View> {
    Arc::new(View::new(sequence(0), []).after(&shared((1..=tasks).map(created))))
}

/// The ids of a page, and the token of the next.
fn page(listing: Listing<'_>, size: usize) -> (Vec<String>, Option<String>) {
    let names: Vec<_> = listing.tasks().take(size + 1).map(|task| task.name.clone()).collect();
    let ids = names.iter().take(size).map(|name| name.id().to_owned()).collect();
    (ids, (names.len() > size).then(|| listing.next_token(&names[size - 1])))
}

#[test]
fn all_pages_show_one_snapshot_whatever_is_committed_meanwhile() {
    let pages = Pages::new();
    let mut now = view(7);
    let (mut ids, mut token) = page(pages.first(Arc::clone(&now), all()), 2);
    let mut next = 8;
    while let Some(resumed) = token {
        let gone = event(next, EventType::TaskDeleted, task("t6", 6));
        now = Arc::new(now.after(&shared([gone, created(next + 1)])));
        next += 2;
        let listing = pages.resume(&resumed, all()).expect("kept");
        assert_eq!(listing.view().head(), sequence(7));
        // Another size for each page.
        let (more, rest) = page(listing, ids.len());
        ids.extend(more);
        token = rest;
    }
    assert_eq!(ids, (1..=7).map(|id| format!("t{id}")).collect::<Vec<_>>());
    assert!(now.get(&task("t6", 6).name).is_none());
}

#[test]
fn a_listing_of_one_page_keeps_nothing() {
    let pages = Pages::new();
    assert_eq!(page(pages.first(view(3), all()), 3).1, None);
    assert!(pages.lock().snapshots.is_empty());
}

#[test]
fn a_listing_keeps_one_snapshot_for_all_its_pages() {
    let pages = Pages::new();
    let token = page(pages.first(view(9), all()), 2).1.expect("more");
    let again = page(pages.resume(&token, all()).expect("kept"), 2);
    assert_eq!(again, page(pages.resume(&token, all()).expect("a token can be used twice"), 2));
    assert_eq!(pages.lock().snapshots.len(), 1);
}

#[test]
fn tokens_of_other_arguments_are_invalid() {
    let pages = Pages::new();
    let listed = || arguments("namespaces/default", "state = RUNNING");
    let token = page(pages.first(view(3), listed()), 1).1.expect("more");
    assert!(pages.resume(&token, listed()).is_ok());
    for other in [
        arguments("namespaces/-", "state = RUNNING"),
        arguments("namespaces/other", "state = RUNNING"),
        arguments("namespaces/default", ""),
        arguments("namespaces/default", "state = RUNNING "),
    ] {
        assert_eq!(pages.resume(&token, other).err(), Some(PageError::Invalid));
    }
}

#[test]
fn altered_forged_and_foreign_tokens_are_invalid() {
    let pages = Pages::new();
    let token = page(pages.first(view(3), all()), 1).1.expect("more");
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)), "{token}");
    let refused = |text: &str| {
        assert_eq!(pages.resume(text, all()).err(), Some(PageError::Invalid), "{text:.80}");
    };
    for at in 0..token.len() {
        refused(&token[..at]);
        for byte in [b'0', b'1', b'a', b'Z', b'.', b'-', b' '] {
            let mut altered = token.clone().into_bytes();
            if altered[at] != byte {
                altered[at] = byte;
                refused(std::str::from_utf8(&altered).expect("ASCII"));
            }
        }
    }
    let tag = token.rsplit_once('.').expect("it has a tag").1;
    let forged = [
        "",
        ".",
        "...",
        "ä.ö",
        "1.default",
        "1.default.t2",
        "1.default.t1.",
        "\0.\0",
        "99999999999999999999.default.t1.0",
    ];
    for text in forged {
        refused(text);
        refused(&format!("{text}.{tag}"));
    }
    refused(&format!("{token}0"));
    refused(&token.to_uppercase());
    refused(&"1.".repeat(500_000));

    let restarted = Pages::new();
    restarted.first(view(3), all()).next_token(&task("t1", 1).name);
    assert_eq!(restarted.resume(&token, all()).err(), Some(PageError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_given_up_after_a_minute() {
    let pages = Pages::new();
    let token = page(pages.first(view(3), all()), 1).1.expect("more");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(pages.resume(&token, all()).is_ok());
    assert!(pages.give_up_one(Instant::now()).is_none());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(pages.resume(&token, all()).err(), Some(PageError::Expired), "use does not prolong it");
    assert!(pages.give_up_one(Instant::now()).is_some());
    assert!(pages.lock().snapshots.is_empty());
    assert_eq!(pages.resume(&token, all()).err(), Some(PageError::Expired));
}

#[test]
fn the_oldest_of_seventeen_snapshots_is_given_up() {
    let pages = Pages::new();
    let tokens: Vec<_> = (0..17).map(|_| page(pages.first(view(3), all()), 1).1.expect("more")).collect();
    assert_eq!(pages.resume(&tokens[0], all()).err(), Some(PageError::Expired));
    for token in &tokens[1..] {
        assert!(pages.resume(token, all()).is_ok());
    }
}
