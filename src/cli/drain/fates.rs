//! What becomes of the instances of a server that drains.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::output::clean;
use crate::cli::words;
use crate::client::{Client, Error};
use crate::pb::v1;
use v1::event::Detail;

/// An instance: its task's name, generation and attempt.
type Key = (String, u64, u32);

/// How instances have ended since just before the drain, which are stuck, and of which it is not known.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// The drain's own event came: so did all that it brought about and that was committed.
    began: bool,
    ended: BTreeMap<String, usize>,
    /// Those that are on their way out.
    stopping: BTreeSet<Key>,
    stuck: BTreeSet<Key>,
}

impl Fates {
    /// What is stuck already, and the cursor to follow on from.
    pub(super) async fn before(client: &Client) -> Result<(Self, String), Error> {
        let request = v1::ListTasksRequest {
            parent: "namespaces/-".to_owned(),
            // What every stuck instance has. There are a few, or something else has been wrong for long.
            filter: "alert = ABORT_TIMEOUT".to_owned(),
            page_size: 1_000,
            page_token: String::new(),
        };
        let v1::ListTasksResponse { tasks, cursor, next_page_token: _ } = client.list(request).await?;
        let instances = tasks.iter().flat_map(|task| {
            let live = task.instance.iter().chain(&task.draining);
            live.map(|instance| (instance, (task.name.clone(), instance.generation, instance.attempt)))
        });
        let stuck = instances.filter(|(instance, _)| instance.state() == v1::InstanceState::Stuck).map(|(_, key)| key);
        Ok((Self { stuck: stuck.collect(), ..Self::default() }, cursor))
    }

    pub(super) fn add(&mut self, event: &v1::Event) {
        use v1::EventType as T;
        let key = (event.name.clone(), event.generation, event.attempt);
        match (event.r#type(), &event.detail) {
            (T::ServerDraining, _) => self.began = true,
            (T::InstanceStopping | T::InstanceAborting, _) => drop(self.stopping.insert(key)),
            (T::InstanceEnded, Some(Detail::Instance(instance))) => {
                *self.ended.entry(words::exit(instance.exit)).or_default() += 1;
                self.stopping.remove(&key);
                self.stuck.remove(&key);
            }
            (T::InstanceStuck, _) => {
                self.stopping.remove(&key);
                self.stuck.insert(key);
            }
            _ => {}
        }
    }

    /// Whether all are known to have ended.
    pub(super) fn are_good(&self) -> bool {
        self.began && self.stopping.is_empty() && self.stuck.is_empty()
    }

    /// What is known once the stream has ended as drains end it: `of its instances 11 ended GRACEFUL, 1 ABORTED; left behind STUCK:
    /// mule`.
    pub(super) fn told(&self) -> String {
        if !self.began {
            let why = "its events do not tell of the drain: it had begun before, or they were not committed";
            return format!("{why}; {}", self.so_far());
        }
        let ended = match (self.ended.is_empty(), self.stopping.is_empty() && self.stuck.is_empty()) {
            (true, true) => "nothing was running".to_owned(),
            (true, false) => "no instance has ended".to_owned(),
            (false, _) => format!("of its instances {}", self.counted()),
        };
        format!("{ended}{}", self.others())
    }

    /// What is known where more may have happened.
    pub(super) fn so_far(&self) -> String {
        let ended = match self.ended.is_empty() {
            true => "how its instances ended is not known".to_owned(),
            false => format!("as far as is known, of its instances {}", self.counted()),
        };
        format!("{ended}{}", self.others())
    }

    fn counted(&self) -> String {
        let ended: Vec<_> = self.ended.iter().map(|(exit, count)| format!("{count} ended {exit}")).collect();
        ended.join(", ")
    }

    /// Those of which no end is known.
    fn others(&self) -> String {
        let mut text = String::new();
        if !self.stopping.is_empty() {
            text += &format!("; of {} it is not known how they ended", self.stopping.len());
        }
        if !self.stuck.is_empty() {
            let names: Vec<_> = self.stuck.iter().map(|(name, ..)| words::id(name)).collect();
            text += &format!("; left behind STUCK: {}", clean(&names.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: v1::EventType, name: &str, exit: v1::Exit) -> v1::Event {
        let instance = v1::Instance { exit: exit.into(), ..v1::Instance::default() };
        let name = format!("namespaces/default/tasks/{name}");
        v1::Event { r#type: kind.into(), name, detail: Some(Detail::Instance(instance)), ..v1::Event::default() }
    }

    fn draining() -> Fates {
        let mut fates = Fates::default();
        fates.add(&v1::Event { r#type: v1::EventType::ServerDraining.into(), ..v1::Event::default() });
        fates
    }

    #[test]
    fn what_is_stuck_is_told_by_name_until_it_has_ended() {
        let mut fates = draining();
        assert_eq!((fates.told().as_str(), fates.are_good()), ("nothing was running", true));
        fates.add(&event(v1::EventType::InstanceStuck, "mule", v1::Exit::Unspecified));
        assert_eq!(fates.told(), "no instance has ended; left behind STUCK: mule");
        assert!(!fates.are_good());
        for name in ["api", "db"] {
            fates.add(&event(v1::EventType::InstanceEnded, name, v1::Exit::Graceful));
        }
        assert_eq!(fates.told(), "of its instances 2 ended GRACEFUL; left behind STUCK: mule");
        fates.add(&event(v1::EventType::InstanceEnded, "mule", v1::Exit::Aborted));
        assert_eq!(fates.told(), "of its instances 1 ended ABORTED, 2 ended GRACEFUL");
        assert!(fates.are_good());
    }

    #[test]
    fn what_was_asked_to_stop_and_never_seen_to_end_is_not_known() {
        let mut fates = draining();
        for name in ["api", "db", "web"] {
            fates.add(&event(v1::EventType::InstanceStopping, name, v1::Exit::Unspecified));
        }
        assert_eq!(fates.told(), "no instance has ended; of 3 it is not known how they ended");
        fates.add(&event(v1::EventType::InstanceEnded, "api", v1::Exit::Graceful));
        assert_eq!(fates.told(), "of its instances 1 ended GRACEFUL; of 2 it is not known how they ended");
        assert!(!fates.are_good());
    }

    #[test]
    fn where_nothing_was_seen_nothing_is_claimed() {
        let mut fates = Fates::default();
        assert_eq!(fates.so_far(), "how its instances ended is not known");
        assert!(!fates.told().contains("nothing was running") && !fates.are_good(), "{}", fates.told());
        fates.add(&event(v1::EventType::InstanceEnded, "api", v1::Exit::Graceful));
        assert_eq!(fates.so_far(), "as far as is known, of its instances 1 ended GRACEFUL");
        assert!(!fates.are_good());
    }
}
