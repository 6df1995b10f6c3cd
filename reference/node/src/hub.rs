//! All partitions of this node, and the tasks that catch members up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use chat_protocol::{ChatRecord, Position, position::partition_of};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    bugs::Bugs,
    catch_up,
    kafka::reader::LogReader,
    limits,
    meters::Meters,
    partition::{Effect, Partition},
    recent::Known,
    ring::Entry,
    room::Straggler,
    sequencer::{Offered, Via},
};

/// The partitions.
#[derive(Debug)]
pub struct Hub {
    partitions: Vec<Partition>,
    /// True once the end of every partition is known, and positions can be given out.
    started: watch::Sender<bool>,
    reader: LogReader,
    meters: Meters,
    tickets: AtomicU64,
    /// Kafka's threads deliver too, and are outside the runtime.
    runtime: Handle,
}

impl Hub {
    /// A hub of so many partitions. Must be called inside the runtime.
    pub fn new(partitions: i32, bugs: Bugs, reader: LogReader, meters: Meters) -> Self {
        Self {
            partitions: (0..partitions).map(|id| Partition::new(id, bugs)).collect(),
            started: watch::Sender::new(false),
            reader,
            meters,
            tickets: AtomicU64::new(0),
            runtime: Handle::current(),
        }
    }

    /// How many partitions the cluster started with.
    pub fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// A partition by its number.
    pub fn partition(&self, id: i32) -> Option<&Partition> {
        usize::try_from(id).ok().and_then(|id| self.partitions.get(id))
    }

    /// The partition a room lives in, and its number.
    pub fn home(&self, room: &str) -> (i32, &Partition) {
        let id = partition_of(room, self.count());
        // `partition_of` is below the count, and there is at least one partition (the flag's range says so).
        (id, &self.partitions[usize::try_from(id).unwrap_or(0) % self.partitions.len()])
    }

    /// Becomes true once positions can be given out.
    pub fn started(&self) -> watch::Receiver<bool> {
        self.started.subscribe()
    }

    /// The reader of the log.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The counters.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// A number that tells one membership from another.
    pub fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// The ends of the log, as far as they are known.
    pub fn log_ends_at(&self, ends: &[Position]) {
        // A message is in the log before its own node knows; only one that is long overdue was orphaned.
        let since = Instant::now() + limits::ORPHAN_PATIENCE;
        for end in ends {
            if let Some(partition) = self.partition(end.partition) {
                partition.log_ends_at(end.offset, since);
            }
        }
        if !*self.started.borrow() && self.partitions.iter().all(|partition| partition.next().is_some()) {
            self.started.send_replace(true);
        }
    }

    /// Where each partition stands on this node, as far as it is known.
    pub fn positions(&self) -> Vec<Position> {
        let next =
            |(partition, it): (i32, &Partition)| it.next().map(|offset| Position { partition, offset });
        (0..).zip(&self.partitions).filter_map(next).collect()
    }

    /// A node knows of messages up to these positions.
    pub fn exists(&self, high: &[Position]) {
        let now = Instant::now();
        for position in high {
            if let Some(partition) = self.partition(position.partition)
                && partition.next().is_some()
            {
                partition.log_ends_at(position.offset + 1, now);
            }
        }
    }

    /// A message of this node or from the bus takes its place.
    pub fn offer(self: &Arc<Self>, position: Position, record: Arc<ChatRecord>, via: Via) -> Option<Offered> {
        let partition = self.partition(position.partition)?;
        let (offered, effect) = partition.offer(position.offset, record, via, Instant::now());
        self.apply(effect);
        offered
    }

    /// A record of the log takes its place. Returns how many messages were delivered by that.
    pub fn tail(self: &Arc<Self>, position: Position, record: Option<Arc<ChatRecord>>) -> u64 {
        let Some(partition) = self.partition(position.partition) else { return 0 };
        let effect = partition.tail(position.offset, record, Instant::now());
        let delivered = effect.from_log;
        self.apply(effect);
        delivered
    }

    /// Puts what was in the log before this process started into memory.
    pub fn warm(&self, partition: i32, from: i64, to: i64, older: Vec<Entry>) {
        if let Some(partition) = self.partition(partition) {
            partition.warm(from, to, older);
        }
    }

    /// The partitions that have to be read from Kafka, and from where.
    pub fn wants_tail(&self, subscription_dead: bool) -> Vec<Position> {
        let now = Instant::now();
        let wanted = |(id, partition): (i32, &Partition)| {
            partition.wants_tail(subscription_dead, now).map(|offset| Position { partition: id, offset })
        };
        (0..).zip(&self.partitions).filter_map(wanted).collect()
    }

    /// Planted bug `no-resubscribe`.
    pub fn give_up_gaps(self: &Arc<Self>) {
        for partition in &self.partitions {
            self.apply(partition.give_up_gap(Instant::now()));
        }
    }

    /// Takes the identity of a message that is about to be sent, for as long as the claim lives; `None` if it is another
    /// message's.
    pub fn claim(self: &Arc<Self>, record: &Arc<ChatRecord>) -> Option<Claim> {
        let known = self.home(&record.room).1.claim(record);
        (known != Known::Conflict).then(|| Claim { hub: Arc::clone(self), record: Some(Arc::clone(record)) })
    }

    /// Topology `relay`: a message that was heard goes to the members on this node.
    pub fn deliver_relayed(self: &Arc<Self>, record: &ChatRecord) {
        let (receipts, too_slow) = self.home(&record.room).1.deliver_relayed(record);
        self.meters.delivered_live.increment(1);
        self.meters.receipts.increment(receipts);
        for socket in too_slow {
            self.runtime.spawn(catch_up::dismiss(Arc::clone(self), socket));
        }
    }

    /// Starts catching a member up.
    pub fn catch_up(self: &Arc<Self>, straggler: Straggler) {
        self.meters.caught_up_members.increment(1);
        self.runtime.spawn(catch_up::run(Arc::clone(self), straggler));
    }

    fn apply(self: &Arc<Self>, effect: Effect) {
        self.meters.delivered_live.increment(effect.messages - effect.from_log);
        self.meters.repeated.increment(effect.repeated);
        self.meters.conflicts.increment(effect.conflicts);
        self.meters.delivered_from_log.increment(effect.from_log);
        self.meters.receipts.increment(effect.receipts);
        for straggler in effect.stragglers {
            self.catch_up(straggler);
        }
    }
}

/// The identity of a message on its way into the log.
#[derive(Debug)]
pub struct Claim {
    hub: Arc<Hub>,
    /// `None` once released.
    record: Option<Arc<ChatRecord>>,
}

impl Claim {
    /// The message is said: what is known of its identity? A conflict is one that was passed over, as it had been another's.
    pub fn release(mut self) -> Known {
        self.give_back().unwrap_or(Known::New)
    }

    fn give_back(&mut self) -> Option<Known> {
        let record = self.record.take()?;
        Some(self.hub.home(&record.room).1.release(&record))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_back();
    }
}
