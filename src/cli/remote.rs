//! Which server is spoken to, and about which namespace.

use clap::Args;

use super::Failure;
use crate::client::Client;

/// Which server is spoken to.
#[derive(Args, Clone, Debug)]
pub(super) struct Remote {
    /// The server, as http://HOST:PORT or HOST:PORT.
    #[arg(long, value_name = "ADDRESS", env = "SWITCHYARD_SERVER", default_value = "http://127.0.0.1:6710")]
    server: String,
}

impl Remote {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.server).await?)
    }

    /// Whether anybody takes connections there.
    pub(super) async fn is_listening(&self) -> bool {
        Client::is_listening(&self.server).await
    }
}

/// Where names without a namespace belong.
#[derive(Args, Clone, Debug)]
pub(super) struct Namespace {
    /// The namespace of names that do not give one, as namespaces/NAMESPACE/tasks/NAME does.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
}

impl Namespace {
    /// The full name of a task that was given by its full name or its last part. The server judges it.
    pub(super) fn task(&self, name: &str) -> String {
        if name.contains('/') { name.to_owned() } else { format!("{}/tasks/{name}", self.parent()) }
    }

    /// The namespace's own name.
    pub(super) fn parent(&self) -> String {
        format!("namespaces/{}", self.namespace)
    }

    /// The last part of the namespace's name.
    pub(super) fn id(&self) -> &str {
        &self.namespace
    }

    /// The parent and the last part of a name, as StartTask takes them.
    pub(super) fn split(&self, name: &str) -> (String, String) {
        match name.split_once("/tasks/") {
            Some((parent, id)) => (parent.to_owned(), id.to_owned()),
            None => (self.parent(), name.to_owned()),
        }
    }
}

/// One namespace, or all.
#[derive(Args, Clone, Debug)]
pub(super) struct Scope {
    #[command(flatten)]
    pub(super) namespace: Namespace,
    /// Look at all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
}

impl Scope {
    pub(super) fn parent(&self) -> String {
        if self.all_namespaces { "namespaces/-".to_owned() } else { self.namespace.parent() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_short_and_full() {
        let namespace = Namespace { namespace: "prod".to_owned() };
        assert_eq!(namespace.task("api"), "namespaces/prod/tasks/api");
        assert_eq!(namespace.task("namespaces/a/tasks/b"), "namespaces/a/tasks/b");
        assert_eq!(namespace.split("api"), ("namespaces/prod".to_owned(), "api".to_owned()));
        assert_eq!(namespace.split("namespaces/a/tasks/b"), ("namespaces/a".to_owned(), "b".to_owned()));
    }
}
