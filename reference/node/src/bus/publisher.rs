//! Publishes frames in the order they are given, and drops them when Redis does not keep up.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chat_protocol::{ChatRecord, Position, bus::BusFrame};
use fred::{
    clients::{Client, WithOptions},
    interfaces::PubsubInterface,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{config::Config, health::Health, limits, meters::Meters};

/// A handle of the publisher's task.
#[derive(Debug, Clone)]
pub struct Bus {
    frames: mpsc::Sender<BusFrame>,
    /// Highest offset this node has had confirmed, per partition; -1 for none.
    high: Arc<[AtomicI64]>,
    meters: Meters,
}

impl Bus {
    /// Starts the task, which connects when it can.
    ///
    /// # Errors
    ///
    /// When the settings make no client.
    pub fn start(config: &Config, meters: Meters, health: Arc<Health>) -> Result<Self, fred::error::Error> {
        let client = super::sender(config)?;
        let (frames, queue) = mpsc::channel(limits::BUS_QUEUE);
        let high = (0..config.partitions).map(|_| AtomicI64::new(-1)).collect();
        let bus = Self { frames, high, meters };
        tokio::spawn(publish(client, config.redis_channel.clone(), queue, bus.meters.clone(), health));
        tokio::spawn(beat(config.name.clone(), bus.clone()));
        Ok(bus)
    }

    /// Tells the other nodes of a message that is in the log.
    pub fn message(&self, position: Position, record: &ChatRecord) {
        if let Some(high) = usize::try_from(position.partition).ok().and_then(|at| self.high.get(at)) {
            high.fetch_max(position.offset, Ordering::Relaxed);
        }
        self.publish(BusFrame::Message { position, record: record.clone() });
    }

    /// Puts a frame into the queue, or drops it when the queue is full.
    pub fn publish(&self, frame: BusFrame) {
        if self.frames.try_send(frame).is_err() {
            self.meters.bus_dropped.increment(1);
        }
    }

    fn high(&self) -> Vec<Position> {
        let known = |(partition, high): (i32, &AtomicI64)| {
            let offset = high.load(Ordering::Relaxed);
            (offset >= 0).then_some(Position { partition, offset })
        };
        (0..).zip(self.high.iter()).filter_map(known).collect()
    }
}

async fn beat(node: String, bus: Bus) {
    let mut pace = tokio::time::interval(limits::BEAT_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for beat in 0.. {
        pace.tick().await;
        bus.publish(BusFrame::Beat { node: node.clone(), beat, high: bus.high() });
    }
}

async fn publish(
    client: WithOptions<Client>,
    channel: String,
    mut queue: mpsc::Receiver<BusFrame>,
    meters: Meters,
    health: Arc<Health>,
) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        let frame = tokio::select! {
            // New frames enter only while there is room, so a silent Redis fills the queue, which then drops.
            frame = queue.recv(), if in_flight.len() < limits::BUS_IN_FLIGHT => frame,
            Some(result) = in_flight.next(), if !in_flight.is_empty() => {
                let result: Result<i64, fred::error::Error> = result;
                match result {
                    Ok(_) => meters.bus_published.increment(1),
                    Err(error) => {
                        meters.bus_dropped.increment(1);
                        // The client keeps to itself that a subscription was refused; a publication is refused, too.
                        super::tell(&error, &channel, &health);
                    }
                }
                continue;
            }
        };
        let Some(frame) = frame else { return };
        match serde_json::to_string(&frame) {
            // fred sends commands in the order in which their futures are first polled, which is that of pushing.
            Ok(text) => in_flight.push(client.publish::<i64, _, _>(channel.as_str(), text)),
            Err(_) => meters.bus_dropped.increment(1),
        }
    }
}
