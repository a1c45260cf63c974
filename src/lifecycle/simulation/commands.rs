//! Random commands; many of them are about what there is.

use std::sync::Arc;

use uuid::Uuid;

use super::super::Command;
use super::Rng;
use super::oracle::Oracle;
use super::world;
use crate::model::*;

pub(super) fn random(rng: &mut Rng, oracle: &Oracle) -> Command {
    let name = TaskName::parse(&format!("namespaces/default/tasks/t{}", rng.below(6))).expect("valid");
    let cause = Cause::system("simulation", "");
    let request = rng.below(60);
    // A few ids, so that they come again, with the same request or another.
    let idempotency =
        (request < 20).then(|| Idempotency::new(Uuid::from_u128(request.into()), name.as_str().as_bytes()));
    let seen = oracle.task(&name);
    let etag = rng.one_in(10).then(|| match seen {
        Some(task) if rng.one_in(2) => task.etag(),
        _ => Etag::given("stale"),
    });
    match rng.below(16) {
        0..=4 => {
            let validate_only = rng.one_in(10);
            let (labels, annotations) = (labels(rng), annotations(rng));
            let spec = world::spec(rng);
            let start = StartTask { name, labels, annotations, spec, validate_only, cause, idempotency };
            Command::Start(Box::new(start), world::target(rng))
        }
        5..=12 => {
            let spec = match seen {
                Some(task) if rng.one_in(5) => Arc::unwrap_or_clone(Arc::clone(&task.spec)),
                _ => world::spec(rng),
            };
            let swap = SwapTask {
                name,
                labels: if rng.one_in(8) { labels(rng) } else { Labels::default() },
                annotations: annotations(rng),
                spec,
                strategy: rng.one_in(4).then(|| SwapStrategy::ALL[usize::from(rng.one_in(2))]),
                validate_only: rng.one_in(10),
                etag,
                cause,
                idempotency,
            };
            Command::Swap(Box::new(swap), world::target(rng))
        }
        13..=14 => Command::Cancel(CancelTask { name, force: rng.one_in(4), etag, cause, idempotency }),
        _ => Command::Delete(DeleteTask { name, etag, cause, idempotency }),
    }
}

fn annotations(rng: &mut Rng) -> Annotations {
    let note = rng.one_in(2).then(|| ("note".to_owned(), "b".to_owned()));
    Annotations::try_new(note).expect("valid")
}

fn labels(rng: &mut Rng) -> Labels {
    let team = rng.one_in(2).then(|| ("team".to_owned(), "pay".to_owned()));
    Labels::try_new(team).expect("valid")
}
