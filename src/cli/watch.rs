//! `watch`.

mod cursor_file;
mod documents;
mod following;
mod view;

use clap::Args;

pub(super) use following::Following;

use super::Failure;
use super::selection::Selection;
use crate::pb::v1;

/// Follow what happens to tasks: a line for each event, as it comes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard watch
  switchyard watch api --initial
  switchyard watch --since 10m                what has happened, then what happens
  switchyard watch -A --filter 'labels.team = core AND type = ALERT_RAISED'
  switchyard watch -o json | jq 'select(.event.type == \"EVENT_TYPE_TASK_ENDED\")'
  switchyard watch --cursor CURSOR            go on where an earlier watch ended
  switchyard watch --cursor-file api.cursor   the same by itself, run after run

After a lost connection it goes on from where it was: nothing is lost, nothing repeated. Where
the server no longer has what comes next, it says so (OUT_OF_RANGE, exit code 5).

A cursor file is for one watch at a time. Ended by SIGINT or SIGTERM, the next run goes on with
exactly the next event, also when the server has been restarted in between (with a durable store).
Ended otherwise (kill -9, a reader that goes away), events since the last save come again, a
quarter of a second of them at the most, and none is missed. While there is no file yet, the watch
begins now, or as --initial or --since say.

With -o json each line is an object with one key: event, task (of the initial state),
initialComplete, or cursor (where to go on after what stands above).

A filter is `field (= | != | :) value`, joined by AND. Fields: name (exact, or a prefix ending
in *), labels.KEY (:* for present), type.")]
pub(super) struct Watch {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    following: Following,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let namespaces = self.selection.which.scope.all_namespaces;
        let request = self.selection.request()?;
        self.following
            .run(namespaces, |client, start| client.watch(v1::WatchTasksRequest { start, ..request.clone() }))
            .await
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        watch: Watch,
    }

    fn parsed(arguments: &[&str]) -> Option<Watch> {
        Command::try_parse_from(["watch"].iter().chain(arguments)).ok().map(|command| command.watch)
    }

    fn request(arguments: &[&str]) -> Result<v1::WatchTasksRequest, Failure> {
        parsed(arguments).expect("parses").selection.request()
    }

    #[test]
    fn a_name_becomes_a_filter_in_its_own_namespace() {
        let named = request(&["api", "-n", "prod", "--filter", "type = TASK_ENDED"]).expect("valid");
        assert_eq!(named.parent, "namespaces/prod");
        assert_eq!(named.filter, "type = TASK_ENDED AND name = \"namespaces/prod/tasks/api\"");
        assert_eq!(request(&["namespaces/a/tasks/b"]).expect("valid").parent, "namespaces/a");
        let all = request(&["-A", "--initial", "--full"]).expect("valid");
        assert_eq!((all.parent.as_str(), all.filter.as_str()), ("namespaces/-", ""));
        assert_eq!((all.start, all.view), (None, v1::EventView::Full.into()));
        assert!(matches!(request(&["api", "-A"]), Err(Failure::Usage(_))));
    }
}
