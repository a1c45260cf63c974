//! Tells load balancers, by health and readiness, whether tasks of every kind can be started now; the rest of the server is as well
//! as ever.

use tokio::sync::watch;

use crate::http::Readiness;
use crate::journal::Condition;
use crate::model::Admission;
use crate::rpc::Health;

/// Who is told.
pub(super) struct Told {
    pub(super) health: Health,
    pub(super) readiness: Readiness,
}

/// Tells of each change, until the manager's loop ends. At the stuck limit built-in kinds can still be started, so that only the
/// health of TaskService says so; a journal that takes in nothing makes the server unready, too.
pub(super) async fn follow(told: Told, mut stuck: watch::Receiver<bool>, mut condition: watch::Receiver<Condition>) {
    let Told { health, readiness } = told;
    let (mut was_stuck, mut was_admitting) = (false, Admission::Open);
    loop {
        let (at_limit, admission) = (*stuck.borrow_and_update(), condition.borrow_and_update().admission());
        if (at_limit, admission) != (was_stuck, was_admitting) {
            health.set_capable(!at_limit && admission == Admission::Open).await;
            readiness.set_admission(admission);
        }
        if at_limit && !was_stuck {
            tracing::warn!("as many instances are stuck as may be: none of a custom kind is started");
        }
        if admission != was_admitting {
            log(admission);
        }
        (was_stuck, was_admitting) = (at_limit, admission);
        let changed = tokio::select! {
            changed = stuck.changed() => changed,
            changed = condition.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn log(admission: Admission) {
    match admission {
        Admission::Open => tracing::info!("the journal takes in commands again"),
        Admission::Stalled => {
            tracing::warn!(
                "the journal has stalled: nothing is started or changed until it commits again; what runs goes on"
            );
        }
        Admission::Full => {
            tracing::warn!(
                "the journal's store is full: nothing is started or changed until there is space; what runs goes on"
            );
        }
    }
}
