//! Which tasks and events a command is about.

use clap::Args;

use super::Failure;
use super::remote::Scope;
use crate::pb::v1;

/// Which tasks.
#[derive(Args, Clone, Debug)]
pub(super) struct Which {
    /// Only this task.
    name: Option<String>,
    /// Only what matches.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    #[command(flatten)]
    pub(super) scope: Scope,
}

impl Which {
    /// The full name, where one was given.
    pub(super) fn name(&self) -> Option<String> {
        self.name.as_ref().map(|name| self.scope.namespace.task(name))
    }

    /// Whether there is no filter.
    pub(super) fn takes_all(&self) -> bool {
        self.filter.is_empty()
    }

    /// The parent and the filter of a request that asks for them.
    pub(super) fn terms(&self) -> Result<(String, String), Failure> {
        if self.name.is_some() && self.scope.all_namespaces {
            return Err(Failure::Usage("a name lies in one namespace; leave out -A, or use --filter".to_owned()));
        }
        let name = self.name();
        // A full name lies in its own namespace, whatever the flags say.
        let parent = name.as_deref().and_then(|name| name.split_once("/tasks/")).map(|(parent, _)| parent.to_owned());
        let named = name.map(|name| format!("name = \"{name}\""));
        // The user's own first: an error says in which column it is.
        let terms: Vec<_> = (!self.takes_all()).then(|| self.filter.clone()).into_iter().chain(named).collect();
        Ok((parent.unwrap_or_else(|| self.scope.parent()), terms.join(" AND ")))
    }
}

/// Which events, and how much of each.
#[derive(Args, Clone, Debug)]
pub(super) struct Selection {
    #[command(flatten)]
    pub(super) which: Which,
    /// Have each event carry the task as it stood after it.
    #[arg(long)]
    full: bool,
}

impl Selection {
    /// Asks for these events, from now on.
    pub(super) fn request(&self) -> Result<v1::WatchTasksRequest, Failure> {
        let (parent, filter) = self.which.terms()?;
        let view = if self.full { v1::EventView::Full } else { v1::EventView::Basic };
        Ok(v1::WatchTasksRequest { parent, filter, view: view.into(), ..v1::WatchTasksRequest::default() })
    }
}
