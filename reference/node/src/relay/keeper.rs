//! Asks Redis for the lease, keeps it, and gives it up.

use std::{
    sync::{Arc, Mutex},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use chat_process::emit;
use fred::{
    clients::{Client, WithOptions},
    interfaces::LuaInterface,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{config::Config, health::Health};

use super::{
    lease::{Answer, Ask, Change, LEASE, LOOK_EVERY, Tenure},
    locked,
};

/// Takes the key if nobody has it, or renews it if it is ours: an acquisition whose answer got lost must not lock its own
/// node out, and one script cannot be overtaken by the key's expiry. 1 for ours, 0 for somebody else's.
const CLAIM: &str = "\
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0";

/// Removes the key if it is ours; a key that expired and was taken meanwhile is not.
const RELEASE: &str = "\
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0";

/// The task that keeps the lease, and the way to end it.
#[derive(Debug, Clone)]
pub struct Keeper {
    client: WithOptions<Client>,
    tenure: Arc<Mutex<Tenure>>,
    health: Arc<Health>,
    key: String,
    owner: String,
}

impl Keeper {
    /// A keeper of the lease of one cluster.
    pub fn new(
        config: &Config,
        client: WithOptions<Client>,
        tenure: Arc<Mutex<Tenure>>,
        health: Arc<Health>,
    ) -> Self {
        let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            client,
            tenure,
            health,
            key: format!("{}.relay", config.redis_channel),
            // Unique for each life of a process, also where two machines give out the same pid.
            owner: format!("{}/{}/{born}", config.name, std::process::id()),
        }
    }

    /// Never ends.
    pub async fn run(self) {
        let mut pace = interval(LOOK_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let asked = Instant::now();
            // Who does not hear the bus relays nothing.
            let fit = !self.health.subscription_dead();
            let (change, ask) = {
                let mut tenure = locked(&self.tenure);
                (tenure.look(asked), tenure.ask(asked, fit))
            };
            self.tell(change);
            match ask {
                Some(Ask::Claim) => self.claim(asked).await,
                Some(Ask::Release) => {
                    // First here, then there: in between nobody relays, where the other order would let two.
                    let change = locked(&self.tenure).end("this node does not hear the bus");
                    self.tell(change);
                    self.release().await;
                }
                None => {}
            }
        }
    }

    /// Stops relaying, and tells Redis so if it answers.
    pub async fn resign(&self) {
        let change = locked(&self.tenure).close("this node stops");
        if change.is_some() {
            self.tell(change);
            self.release().await;
        }
    }

    async fn claim(&self, asked: Instant) {
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let arguments: Vec<String> = vec![self.owner.clone(), lease_ms.to_string()];
        let answer = match self.client.eval::<i64, _, _, _>(CLAIM, self.key.as_str(), arguments).await {
            Ok(1) => Answer::Granted,
            Ok(_) => Answer::Taken,
            Err(error) => {
                tracing::debug!(%error, "nothing is known of the lease");
                Answer::Silent
            }
        };
        if answer != Answer::Silent {
            self.health.relay_known();
        }
        let (change, closed) = {
            let mut tenure = locked(&self.tenure);
            (tenure.answered(asked, answer), tenure.is_closed())
        };
        self.tell(change);
        if closed && answer == Answer::Granted {
            self.release().await;
        }
    }

    async fn release(&self) {
        let owner: Vec<String> = vec![self.owner.clone()];
        if let Err(error) = self.client.eval::<i64, _, _, _>(RELEASE, self.key.as_str(), owner).await {
            tracing::debug!(%error, "the lease was not released; it expires by itself");
        }
    }

    fn tell(&self, change: Option<Change>) {
        match change {
            Some(Change::Began) => emit!(RelayStarted),
            Some(Change::Ended(reason)) => emit!(RelayEnded, reason),
            None => {}
        }
    }
}
