//! Watches a run from outside: takes the clock, the totals, CPU and memory at the moments that
//! matter, ends publishing when its time is over, and waits for what is outstanding.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::ledger::Totals;
use super::procfs::{Process, cpu_of, memory_of};
use super::traffic::{Shared, Traffic};

/// How often it looks.
const TICK: Duration = Duration::from_millis(10);
/// Every so many ticks the progress is drawn and memory sampled.
const TICKS_PER_SAMPLE: u32 = 10;
/// How long it goes on listening for duplicates once all has arrived.
const LINGER: Duration = Duration::from_millis(50);

/// How long the parts of a run last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Publishing before measuring.
    pub(super) warm_up: Duration,
    /// Measured publishing; `None`: until all events are published.
    pub(super) measured: Option<Duration>,
    /// Wait for missing deliveries while any comes within this.
    pub(super) drain_timeout: Duration,
    /// Sampling memory after the run.
    pub(super) settle: Duration,
}

/// Everything countable at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    /// When.
    pub(super) at_ns: u64,
    /// The ledger's totals.
    pub(super) totals: Totals,
    /// The CPU time of all servers, where it can be read.
    pub(super) server_cpu: Option<Duration>,
    /// The CPU time of the database's processes, where there are any that can be read.
    pub(super) database_cpu: Option<Duration>,
    /// CPU time of this process: generator, receiver and watcher.
    pub(super) own_cpu: Option<Duration>,
}

/// The server's memory at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemorySample {
    /// When.
    pub(super) at_ns: u64,
    /// Resident bytes.
    pub(super) resident_bytes: u64,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// When measuring began.
    pub(super) begin: Snapshot,
    /// When publishing was told to end, or had ended by itself.
    pub(super) published: Snapshot,
    /// When nothing was outstanding any more, or it gave up.
    pub(super) drained: Snapshot,
    /// Memory from the start of publishing to the end of settling.
    pub(super) memory: Vec<MemorySample>,
}

/// The processes whose CPU and memory are looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    /// The servers that are measured, as far as they are known.
    pub(super) servers: Vec<Process>,
    /// The database's.
    pub(super) database: Option<Process>,
}

/// One watcher of one run.
pub(super) struct Watcher<'a> {
    shared: &'a Arc<Shared>,
    traffic: &'a Traffic,
    watched: &'a Watched,
    progress: ProgressBar,
    memory: Vec<MemorySample>,
    ticks: u32,
    drawn: (u64, Totals),
}

impl<'a> Watcher<'a> {
    /// Watches `traffic`, and the processes that are known. Draws progress on standard error
    /// when `visible` and that is a terminal.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        traffic: &'a Traffic,
        watched: &'a Watched,
        visible: bool,
        events_max: Option<u64>,
    ) -> Self {
        let progress = if visible {
            progress_bar(events_max)
        } else {
            ProgressBar::hidden()
        };
        let drawn = (shared.now_ns(), Totals::default());
        Self {
            shared,
            traffic,
            watched,
            progress,
            memory: Vec::new(),
            ticks: 0,
            drawn,
        }
    }

    /// Sees the run through.
    ///
    /// # Errors
    /// When a thread of the traffic died or the user asked to end.
    pub(super) fn watch(mut self, schedule: &Schedule) -> Result<Observed> {
        let begin = self.until("warming up", |watcher| {
            Ok(watcher.shared.now_ns() >= nanoseconds(schedule.warm_up)
                || watcher.traffic.has_published()?)
        })?;
        let end_ns = schedule
            .measured
            .map(|measured| nanoseconds(schedule.warm_up) + nanoseconds(measured));
        let published = self.until("publishing", |watcher| {
            Ok(
                end_ns.is_some_and(|end_ns| watcher.shared.now_ns() >= end_ns)
                    || watcher.traffic.has_published()?,
            )
        })?;
        self.shared.stop_publishing();
        self.until("finishing requests", |watcher| {
            watcher.traffic.has_published()
        })?;
        let drained = self.drain(schedule.drain_timeout)?;
        let linger_ns = drained.at_ns + nanoseconds(LINGER.max(schedule.settle));
        self.until("settling", |watcher| {
            Ok(watcher.shared.now_ns() >= linger_ns)
        })?;
        self.progress.finish_and_clear();
        Ok(Observed {
            begin,
            published,
            drained,
            memory: self.memory,
        })
    }

    /// Waits until every accepted event has come, or none has for `timeout`.
    fn drain(&mut self, timeout: Duration) -> Result<Snapshot> {
        let mut progressed = (
            self.shared.ledger().totals().delivered,
            self.shared.now_ns(),
        );
        self.until("waiting for deliveries", |watcher| {
            let (now_ns, ledger) = (watcher.shared.now_ns(), watcher.shared.ledger());
            let delivered = ledger.totals().delivered;
            if delivered != progressed.0 {
                progressed = (delivered, now_ns);
            }
            Ok(ledger.is_drained() || now_ns - progressed.1 > nanoseconds(timeout))
        })
    }

    /// Looks every tick until `reached`, and takes the snapshot of that moment.
    fn until(
        &mut self,
        doing: &'static str,
        mut reached: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<Snapshot> {
        loop {
            if reached(self)? {
                return Ok(self.snapshot());
            }
            if self.shared.is_interrupted() {
                bail!("interrupted");
            }
            if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
                self.sample(doing);
            }
            self.ticks = self.ticks.wrapping_add(1);
            thread::sleep(TICK);
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            at_ns: self.shared.now_ns(),
            totals: self.shared.ledger().totals(),
            server_cpu: cpu_of(&self.watched.servers),
            database_cpu: self.watched.database.and_then(Process::cpu),
            own_cpu: Process::Own.cpu(),
        }
    }

    fn sample(&mut self, doing: &'static str) {
        let at_ns = self.shared.now_ns();
        if let Some(memory) = memory_of(&self.watched.servers) {
            self.memory.push(MemorySample {
                at_ns,
                resident_bytes: memory.resident_bytes,
            });
        }
        if self.progress.is_hidden() {
            return;
        }
        let totals = self.shared.ledger().totals();
        let seconds = Duration::from_nanos(at_ns - self.drawn.0).as_secs_f64();
        if seconds >= 0.5 {
            let accepted = per_second(totals.accepted - self.drawn.1.accepted, seconds);
            let delivered = per_second(totals.delivered - self.drawn.1.delivered, seconds);
            self.progress.set_message(format!(
                "{doing}: {accepted:.0} accepted/s, {delivered:.0} delivered/s"
            ));
            self.progress.set_position(totals.issued);
            self.drawn = (at_ns, totals);
        }
    }
}

fn progress_bar(events_max: Option<u64>) -> ProgressBar {
    let (bar, template) = match events_max {
        Some(events) => (
            ProgressBar::new(events),
            "{elapsed_precise} {bar:30} {human_pos}/{human_len} {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{elapsed_precise} {spinner} {human_pos} events, {msg}",
        ),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `count` in `seconds`, as a rate; 0 in no time.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}
