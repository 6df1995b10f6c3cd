//! Control of Toxiproxy: links down and up, toxics on and off, and every change read back before it counts.
//!
//! `toxiproxy_rust` does the talking where it can. It blocks, panics when the server is unreachable, and takes any
//! status for success (a toxic that already exists is answered 409 and silently not applied). So it lives behind this
//! file alone, on a thread of its own (`client`), and nothing it says is believed: the server is asked what is really
//! in force. What it lacks (`reset_peer`, a second toxic of one kind, taking one toxic away) is posted as JSON.

mod client;
pub(crate) mod local;
mod wire;

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use serde_json::json;
use toxiproxy_rust::proxy::{Proxy, ProxyPack};

use self::{
    client::Blocking,
    wire::{root_cause, streams, wire},
};
use crate::{
    plan::{
        LinkName, ProcessName, Toxic,
        fault::{Direction, Service},
    },
    wait,
};

/// Longest wait for one answer of Toxiproxy, which is on this machine; a busy one may stall for some seconds. Taking a
/// toxic away may hang for good (Shopify/toxiproxy#558).
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a link may take to listen again: its port may be in somebody's hands for a moment.
const ENABLE_LIMIT: Duration = Duration::from_secs(5);

/// A proxy did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No answer, or a broken one.
    #[error("Toxiproxy at {api} could not {doing}: {reason}")]
    Failed {
        /// Its address.
        api: SocketAddr,
        /// What was asked.
        doing: String,
        /// What came back.
        reason: String,
    },
    /// It said yes, and did not.
    #[error("Toxiproxy at {api} was told to {doing}, and reads back: {seen}")]
    NotApplied {
        /// Its address.
        api: SocketAddr,
        /// What was asked.
        doing: String,
        /// What is in force.
        seen: String,
    },
    /// There is no proxy for that link.
    #[error("the link {link} has no proxy: {reason}")]
    NoProxy {
        /// Which.
        link: LinkName,
        /// Why not.
        reason: &'static str,
    },
}

/// A proxy to be made.
#[derive(Debug, Clone)]
pub(crate) struct ProxySpec {
    pub(crate) link: LinkName,
    /// As Toxiproxy sees it: `127.0.0.1:20001`, in a container `0.0.0.0:20001`.
    pub(crate) listen: String,
    pub(crate) upstream: String,
    /// As everybody else reaches it.
    pub(crate) address: SocketAddr,
}

/// A toxic in force, as read back from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct ToxicState {
    /// Its name at this proxy.
    pub name: String,
    /// Toxiproxy's word for the kind: `latency`, `timeout` …
    pub kind: String,
    /// `upstream` or `downstream`.
    pub stream: String,
    /// Share of connections it works on.
    pub toxicity: f32,
    /// Its attributes.
    pub attributes: BTreeMap<String, u32>,
}

impl fmt::Display for ToxicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.stream, self.kind, self.attributes)
    }
}

/// What is in force on a link, as read back from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkState {
    /// False while the link is down.
    pub enabled: bool,
    /// The toxics.
    pub toxics: Vec<ToxicState>,
}

/// A toxic that was applied, and can be taken away again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a toxic stays until it is removed"]
pub struct AppliedToxic {
    /// Where.
    pub link: LinkName,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for AppliedToxic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.link)
    }
}

/// All links of a run.
#[derive(Debug)]
pub struct Proxies {
    api: SocketAddr,
    links: BTreeMap<LinkName, SocketAddr>,
    blocking: Blocking,
    http: reqwest::Client,
    /// Held while a name is chosen and taken: two faults may begin at once on one link.
    naming: tokio::sync::Mutex<()>,
}

impl Proxies {
    /// Speaks to the server at `api`, which has no proxies yet.
    pub(crate) fn connect(api: SocketAddr) -> Result<Self, ProxyError> {
        let failed = |reason: String| ProxyError::Failed { api, doing: "be spoken to".to_owned(), reason };
        let http = reqwest::Client::builder()
            .no_proxy() // it is on this machine, whatever http_proxy says
            .timeout(ANSWER_LIMIT)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let blocking = Blocking::start(api, ANSWER_LIMIT).map_err(|error| failed(error.to_string()))?;
        Ok(Self { api, links: BTreeMap::new(), blocking, http, naming: tokio::sync::Mutex::new(()) })
    }

    /// Where the server's own API is, to look at the proxies by hand.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The server's version, as soon as it answers.
    pub(crate) async fn version(&self) -> Result<String, String> {
        let answer = self.http.get(self.url("version")).send().await.map_err(|error| root_cause(&error))?;
        let text = answer.error_for_status().map_err(|error| root_cause(&error))?.text().await;
        let text = text.map_err(|error| root_cause(&error))?;
        // {"version": "2.12.0"}
        let version = serde_json::from_str::<serde_json::Value>(&text).ok();
        Ok(version.and_then(|json| Some(json.get("version")?.as_str()?.to_owned())).unwrap_or(text))
    }

    /// Makes the proxies. Returns the links whose port was taken by something else meanwhile.
    pub(crate) async fn create(&mut self, specs: &[ProxySpec]) -> Result<Vec<LinkName>, ProxyError> {
        let packs: Vec<ProxyPack> = specs
            .iter()
            .map(|spec| ProxyPack::new(spec.link.to_string(), spec.listen.clone(), spec.upstream.clone()))
            .collect();
        // Its answer is an error as soon as one of them fails, with some made and some not: only reading back tells.
        let answer = self.blocking.call(move |client| client.populate(packs).map(drop)).await;
        let made = self.all().await?;
        let mut refused = Vec::new();
        for spec in specs {
            match made.get(&spec.link.to_string()) {
                Some(proxy) if proxy.enabled && proxy.upstream == spec.upstream => {
                    self.links.insert(spec.link, spec.address);
                }
                _ => refused.push(spec.link),
            }
        }
        match answer {
            Err(reason) if refused.len() == specs.len() => Err(self.failed("make the proxies", reason)),
            _ => Ok(refused),
        }
    }

    /// Where a process finds a service: the near end of the link.
    ///
    /// # Errors
    ///
    /// [`ProxyError::NoProxy`] when this run has no such link.
    pub fn address(&self, link: LinkName) -> Result<SocketAddr, ProxyError> {
        self.links
            .get(&link)
            .copied()
            .ok_or(ProxyError::NoProxy { link, reason: "this run has no such link" })
    }

    /// Where the near end of a process's link to Kafka listens: what the broker advertises to that process.
    pub(crate) fn of_kafka(&self, process: ProcessName) -> Option<SocketAddr> {
        self.address(LinkName { process, service: Service::Kafka }).ok()
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = LinkName> + '_ {
        self.links.keys().copied()
    }

    /// All links to a service.
    pub fn links_to(&self, service: Service) -> impl Iterator<Item = LinkName> + '_ {
        self.links().filter(move |link| link.service == service)
    }

    /// What is in force on a link.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when the server does not say.
    pub async fn state(&self, link: LinkName) -> Result<LinkState, ProxyError> {
        self.address(link)?;
        let state = self.blocking.call(move |client| {
            let proxy = client.find_proxy(&link.to_string())?;
            Ok(LinkState {
                enabled: proxy.proxy_pack.enabled,
                toxics: proxy.toxics()?.into_iter().map(seen).collect(),
            })
        });
        state.await.map_err(|reason| self.failed(format!("tell the state of {link}"), reason))
    }

    /// Takes a link down: connections are cut, new ones refused.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when it is not down afterwards.
    pub async fn disable(&self, link: LinkName) -> Result<(), ProxyError> {
        self.on_proxy(link, "take down", |proxy| proxy.disable()).await?;
        match self.state(link).await? {
            LinkState { enabled: false, .. } => Ok(()),
            LinkState { .. } => Err(self.not_applied(format!("take {link} down"), "it is up")),
        }
    }

    /// Brings a link up again.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when it is not up afterwards.
    pub async fn enable(&self, link: LinkName) -> Result<(), ProxyError> {
        wait::until(&format!("{link} up"), ENABLE_LIMIT, async || {
            self.on_proxy(link, "bring up", |proxy| proxy.enable())
                .await
                .map_err(|error| error.to_string())?;
            match self.state(link).await {
                Ok(LinkState { enabled: true, .. }) => Ok(()),
                Ok(_) => Err("it is down".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .map_err(|error| self.not_applied(format!("bring {link} up"), &error.last))
    }

    /// Applies a toxic; both directions are two toxics, and either both are in force afterwards or none.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when the server does not confirm it.
    pub async fn add(
        &self,
        link: LinkName,
        toxic: &Toxic,
        direction: Direction,
    ) -> Result<Vec<AppliedToxic>, ProxyError> {
        let mut applied = Vec::new();
        for stream in streams(direction) {
            match self.add_one(link, toxic, stream).await {
                Ok(one) => applied.push(one),
                Err(error) => {
                    for one in &applied {
                        self.remove(one).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(applied)
    }

    async fn add_one(
        &self,
        link: LinkName,
        toxic: &Toxic,
        stream: &'static str,
    ) -> Result<AppliedToxic, ProxyError> {
        let (kind, attributes) = wire(toxic);
        let _naming = self.naming.lock().await;
        let there = self.state(link).await?.toxics;
        let plain = format!("{kind}_{stream}");
        let taken = |name: &str| there.iter().any(|toxic| toxic.name == name);
        let name = if taken(&plain) {
            (2..).map(|n| format!("{plain}_{n}")).find(|name| !taken(name)).unwrap_or_default()
        } else {
            plain.clone()
        };
        if name == plain && !matches!(toxic, Toxic::Reset { .. }) {
            let toxic = toxic.clone();
            self.on_proxy(link, "apply a toxic to", move |proxy| apply(proxy, &toxic, stream)).await?;
        } else {
            let body = json!({
                "name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes,
            });
            let url = self.url(&format!("proxies/{link}/toxics"));
            let answer =
                self.http.post(url).json(&body).send().await.and_then(reqwest::Response::error_for_status);
            answer.map_err(|error| self.failed(format!("apply {kind} to {link}"), root_cause(&error)))?;
        }
        let there = self.state(link).await?.toxics;
        let found = there.iter().find(|toxic| toxic.name == name);
        match found {
            Some(toxic) if toxic.kind == kind && toxic.stream == stream && toxic.attributes == attributes => {
                Ok(AppliedToxic { link, name })
            }
            other => {
                let seen = other.map_or_else(|| "no such toxic".to_owned(), ToString::to_string);
                Err(self.not_applied(format!("apply {stream} {kind} {attributes:?} to {link}"), &seen))
            }
        }
    }

    /// Changes the strength of a toxic in force. Connections that are open feel it, too.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when the server does not confirm it.
    pub async fn update(&self, applied: &AppliedToxic, toxic: &Toxic) -> Result<(), ProxyError> {
        let (kind, attributes) = wire(toxic);
        let doing = format!("change {} on {} to {attributes:?}", applied.name, applied.link);
        let url = self.url(&format!("proxies/{}/toxics/{}", applied.link, applied.name));
        let answer = self.http.post(url).json(&json!({ "attributes": attributes, "toxicity": 1.0 })).send();
        let answer = answer.await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| self.failed(doing.clone(), root_cause(&error)))?;
        let there = self.state(applied.link).await?.toxics;
        match there.iter().find(|toxic| toxic.name == applied.name) {
            Some(toxic) if toxic.kind == kind && toxic.attributes == attributes => Ok(()),
            Some(toxic) => Err(self.not_applied(doing, &toxic.to_string())),
            None => Err(self.not_applied(doing, "no such toxic")),
        }
    }

    /// Takes a toxic away. A toxic that is gone already is no error.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when it is still in force afterwards.
    pub async fn remove(&self, toxic: &AppliedToxic) -> Result<(), ProxyError> {
        if self.delete(toxic).await? {
            return Ok(());
        }
        // The deletion hangs while the toxic's own goroutine is stuck on a connection: cutting the link frees it.
        // A link that another fault holds down stays down.
        let was_up = self.state(toxic.link).await?.enabled;
        self.disable(toxic.link).await?;
        let gone = self.delete(toxic).await?;
        if was_up {
            self.enable(toxic.link).await?;
        }
        if gone {
            return Ok(());
        }
        Err(self.not_applied(format!("take {} off {}", toxic.name, toxic.link), "it is still there"))
    }

    /// True when the toxic is gone afterwards.
    async fn delete(&self, toxic: &AppliedToxic) -> Result<bool, ProxyError> {
        let url = self.url(&format!("proxies/{}/toxics/{}", toxic.link, toxic.name));
        // Whatever it answers, or does not: the state decides.
        let _ = self.http.delete(url).send().await;
        Ok(!self.state(toxic.link).await?.toxics.iter().any(|left| left.name == toxic.name))
    }

    /// Every link up, without any toxic.
    ///
    /// # Errors
    ///
    /// The first link that is not so afterwards; the others are tried all the same.
    pub async fn reset(&self) -> Result<(), ProxyError> {
        let mut outcome = Ok(());
        for link in self.links() {
            if let Err(error) = self.reset_link(link).await {
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    async fn reset_link(&self, link: LinkName) -> Result<(), ProxyError> {
        let state = self.state(link).await?;
        for toxic in state.toxics {
            self.remove(&AppliedToxic { link, name: toxic.name }).await?;
        }
        if state.enabled { Ok(()) } else { self.enable(link).await }
    }

    /// Points a link at another port of its service.
    pub(crate) async fn retarget(&self, link: LinkName, upstream: &str) -> Result<(), ProxyError> {
        let doing = format!("point {link} at {upstream}");
        let body = json!({ "upstream": upstream });
        let answer = self.http.post(self.url(&format!("proxies/{link}"))).json(&body).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| self.failed(doing.clone(), root_cause(&error)))?;
        match self.all().await?.get(&link.to_string()) {
            Some(proxy) if proxy.upstream == upstream && proxy.enabled => Ok(()),
            Some(proxy) => Err(self.not_applied(doing, &proxy.upstream)),
            None => Err(self.not_applied(doing, "no such proxy")),
        }
    }

    async fn all(&self) -> Result<BTreeMap<String, ProxyPack>, ProxyError> {
        let all = self.blocking.call(|client| client.all());
        let all = all.await.map_err(|reason| self.failed("list its proxies", reason))?;
        Ok(all.into_iter().map(|(name, proxy)| (name, proxy.proxy_pack)).collect())
    }

    async fn on_proxy(
        &self,
        link: LinkName,
        doing: &str,
        act: impl FnOnce(&Proxy) -> Result<(), String> + Send + 'static,
    ) -> Result<(), ProxyError> {
        self.address(link)?;
        // Two jobs: should the first one hang, the second one, which changes something, is never begun.
        let outcome = async {
            let proxy = self.blocking.call(move |client| client.find_proxy(&link.to_string())).await?;
            self.blocking.call(move |_| act(&proxy)).await
        };
        outcome.await.map_err(|reason| self.failed(format!("{doing} {link}"), reason))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.api, path.replace('>', "%3E"))
    }

    fn failed(&self, doing: impl Into<String>, reason: impl Into<String>) -> ProxyError {
        ProxyError::Failed { api: self.api, doing: doing.into(), reason: reason.into() }
    }

    fn not_applied(&self, doing: String, seen: &str) -> ProxyError {
        ProxyError::NotApplied { api: self.api, doing, seen: seen.to_owned() }
    }
}

fn apply(proxy: &Proxy, toxic: &Toxic, stream: &str) -> Result<(), String> {
    let stream = stream.to_owned();
    match *toxic {
        Toxic::Latency { latency_ms, jitter_ms } => proxy.with_latency(stream, latency_ms, jitter_ms, 1.0),
        Toxic::Bandwidth { kbytes_per_s } => proxy.with_bandwidth(stream, kbytes_per_s, 1.0),
        Toxic::Slicer { average_bytes, variation_bytes, delay_us } => {
            proxy.with_slicer(stream, average_bytes, variation_bytes, delay_us, 1.0)
        }
        Toxic::BlackHole => proxy.with_timeout(stream, 0, 1.0),
        Toxic::Reset { .. } => return Err("toxiproxy_rust has no reset_peer".to_owned()),
        Toxic::LimitData { bytes } => proxy.with_limit_data(stream, bytes, 1.0),
        Toxic::SlowClose { delay_ms } => proxy.with_slow_close(stream, delay_ms, 1.0),
    };
    Ok(())
}

fn seen(pack: toxiproxy_rust::toxic::ToxicPack) -> ToxicState {
    ToxicState {
        name: pack.name,
        kind: pack.r#type,
        stream: pack.stream,
        toxicity: pack.toxicity,
        attributes: pack.attributes.into_iter().collect(),
    }
}
