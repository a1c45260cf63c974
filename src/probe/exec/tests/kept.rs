//! What the commands of a process share: places to start at, and an end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::probe::Commands;

impl Exec {
    /// Commands that are started in another way.
    fn starting(start: Start) -> Arc<Self> {
        let metrics = Metrics::new().expect("registered once");
        Arc::new(Self { start, ..Self::new(&[SHELL.to_owned()], metrics.perfdata) })
    }
}

impl Bench {
    /// Checks one after the other, of a script that has the file's name in `$1`.
    fn keep_on(exec: &Arc<Exec>, told: &Told, script: &str, timeout: Duration) -> Self {
        let (spec, schedule) = spec(SHELL, &["-c", script, "sh", told.path()], &[], timeout, 0);
        let plugin = Plugin { spec: Arc::new(spec), exec: Arc::clone(exec) };
        let bench = Self::begin(Box::new(plugin), schedule, Metrics::new().expect("registered once"));
        let trial_interval = Some(Duration::from_millis(1));
        bench.orders.set_regime(Regime { epoch: Epoch::new(1), counted: true, trial_interval });
        bench
    }

    /// Waits until a check says this.
    async fn says(&self, text: &str) {
        until(|| self.live.snapshot().last_check.is_some_and(|check| check.message.contains(text))).await;
    }
}

async fn until(seen: impl Fn() -> bool) {
    let deadline = Instant::now() + AMPLE;
    while !seen() {
        assert!(Instant::now() < deadline, "not seen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing that has been spawned is started before this is let go.
static HUNG: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static HUNG_STARTS: AtomicUsize = AtomicUsize::new(0);

fn hang(command: &ExecSpec, leaders: &Arc<Leaders>) -> io::Result<Spawned> {
    HUNG_STARTS.fetch_add(1, Ordering::Relaxed);
    let spawned = group::spawn(command, leaders);
    drop(HUNG.blocking_lock());
    spawned
}

#[tokio::test]
async fn while_a_start_hangs_none_is_begun_for_the_same_instance_and_it_ends_for_nobody() {
    for out_of_time in [true, false] {
        HUNG_STARTS.store(0, Ordering::Relaxed);
        let hung = HUNG.lock().await;
        let (exec, told) = (Exec::starting(hang), Told::new());
        let limit = if out_of_time { Duration::from_millis(300) } else { AMPLE };
        let bench = Bench::keep_on(&exec, &told, "echo $$ >> $1; sleep 1000", limit);
        let group = told.group().await;
        if !out_of_time {
            bench.orders.set_regime(Regime { epoch: Epoch::new(2), ..bench.orders.regime() });
        }
        bench.says("not started again").await;
        let check = bench.live.snapshot().last_check.expect("made");
        assert_eq!((check.verdict, check.reason), (Verdict::Neutral, LOCAL_FAULT));
        // More than one check has said so.
        until(|| bench.live.snapshot().last_check.is_some_and(|later| later.time > check.time)).await;
        assert_eq!((HUNG_STARTS.load(Ordering::Relaxed), exec.starts.available_permits()), (1, STARTS as usize - 1));
        assert!(!left(group).is_empty());
        drop(hung);
        gone(group).await;
        // Now it is started again, and in time.
        told.lines(2).await;
        bench.token.cancel();
        bench.ended().await;
        assert_eq!(exec.leaders.count(), 0);
    }
}

#[tokio::test]
async fn the_end_kills_all_groups_and_nothing_starts_after_it() {
    let script = "trap '' TERM HUP; (trap '' TERM HUP; while :; do sleep 1000; done) & echo $$ >> $1; \
                  while :; do sleep 1000; done";
    for dropped in [true, false] {
        let (exec, told, kept_on) = (Exec::starting(group::spawn), Told::new(), Told::new());
        // Its owner does not come to end it.
        let spawned = group::spawn(&command(script, &["sh", told.path()]), &exec.leaders).expect("starts");
        let group = told.group().await;
        let bench = Bench::keep_on(&exec, &kept_on, script, AMPLE);
        kept_on.group().await;
        // A command may say its word before its start has returned.
        until(|| exec.leaders.count() == 2).await;
        let commands = Commands(Some(Arc::clone(&exec)));
        if dropped {
            drop(commands);
        } else {
            commands.end().await;
        }
        // All but the leader, which is not reaped.
        until(|| left(group).iter().all(|stat| stat.contains(") Z "))).await;
        bench.says("the server ends").await;
        assert_eq!((exec.leaders.count(), kept_on.lines(1).await.len()), (1, 1));
        drop(spawned);
        gone(group).await;
        assert_eq!(exec.leaders.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_what_is_starting_but_not_for_ever() {
    let exec = Exec::starting(group::spawn);
    let began = Instant::now();
    let start = Arc::clone(&exec.starts).acquire_owned().await.expect("open");
    let mut end = std::pin::pin!(exec.end());
    assert!(timeout(STARTING / 2, &mut end).await.is_err());
    drop(start);
    end.await;
    assert_eq!(began.elapsed(), STARTING / 2);
    let _hung = Arc::clone(&exec.starts).acquire_owned().await;
    exec.end().await;
    assert_eq!(began.elapsed(), STARTING / 2 + STARTING);
}
