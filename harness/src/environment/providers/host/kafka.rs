//! Kafka: one KRaft broker in a small JVM.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use nix::sys::signal::Signal;

use super::{StartContext, server::Server};
use crate::{
    environment::{
        child::ChildSpec,
        contract::Endpoints,
        error::EnvironmentError,
        launch::{launch, run_tool, with_another_port},
        ports::Ports,
        proxies::Proxies,
        services::{
            kafka::{CLUSTER_ID, JVM, Listeners, properties},
            probe::answers,
        },
    },
    plan::{ProcessName, Service},
};

/// Kafka, running.
pub(super) struct Up {
    pub(super) server: Server,
    pub(super) listeners: Listeners,
}

pub(super) async fn up(
    site: &StartContext<'_>,
    processes: &[ProcessName],
    first: Listeners,
    proxies: &Proxies,
) -> Result<Up, EnvironmentError> {
    let folder = site.folder.join("kafka");
    let io = |source| EnvironmentError::Io { doing: "prepare the folder", path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(io)?;
    let file = folder.join("server.properties");
    let data = folder.join("data");
    let java = |name: &str, main: &str, args: &[&str]| {
        let mut all: Vec<String> = JVM.map(str::to_owned).to_vec();
        if let Some(archive) = &site.manifest.kafka_cds {
            all.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        if let Some(logging) = &site.manifest.kafka_log4j2 {
            all.push(format!("-Dlog4j2.configurationFile={}", logging.display()));
        }
        all.extend(["-cp".to_owned(), format!("{}/*", site.manifest.kafka_libs.display()), main.to_owned()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        ChildSpec {
            name: name.to_owned(),
            program: site.manifest.java.clone(),
            args: all,
            env: Vec::new(),
            user: None,
            folder: Some(folder.clone()),
            log: site.logs.join("kafka.log"),
        }
    };
    let path = file.display().to_string();
    let mut listeners = Some(first);
    with_another_port("kafka", 0, async |_| {
        let again = listeners.take();
        let retry = again.is_none();
        let listeners = match again {
            Some(first) => first,
            None => Listeners::draw(processes, &mut Ports::default())?,
        };
        let verifier = SocketAddr::from((Ipv4Addr::LOCALHOST, listeners.verifier));
        let mut text: String =
            properties(&listeners, "127.0.0.1", verifier, |process| proxies.of_kafka(process))
                .into_iter()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
        text.push_str(&format!("log.dirs={}\n", data.display()));
        fs::write(&file, text).map_err(io)?;
        if !retry {
            let format = ["format", "-t", CLUSTER_ID, "-c", &path];
            run_tool(&java("kafka's format", "kafka.tools.StorageTool", &format), site.registry).await?;
        }
        let spec = java("kafka", "kafka.Kafka", &[&path]);
        let at = Endpoints { kafka_brokers: verifier.to_string(), ..Endpoints::default() };
        let (child, ()) = launch(&spec, site.registry, async || answers(Service::Kafka, &at).await).await?;
        let server = Server::new(Service::Kafka, spec, Signal::SIGTERM, at, site.registry, child);
        Ok(Up { server, listeners })
    })
    .await
}
