//! Which provider can do which fault, found out before anything starts.

use nix::unistd::geteuid;

use super::{
    contract::{External, Provider, Way},
    netfilter,
};
use crate::plan::{
    Effects, FaultKind, LinkName, PlannedFault, Service, Toxic,
    fault::catalogue::{self, Managed},
};

/// Whether a provider can do what a fault needs; asked when a scenario is planned, before anything starts.
///
/// # Errors
///
/// A sentence that names the fault and the reason.
pub fn supports(provider: Provider, external: Option<&External>, fault: &FaultKind) -> Result<(), String> {
    if *fault == FaultKind::PostgresDiskFull && provider == Provider::Host && !geteuid().is_root() {
        return Err(
            "the host provider cannot do postgres-disk-full: only root may mount the small file system that \
                    is filled; run as root, or with `--provider docker`"
                .to_owned(),
        );
    }
    if matches!(fault, FaultKind::LinkLoss { .. })
        && let Err(missing) = netfilter::usable()
    {
        return Err(format!("link-loss cannot be done here: {missing}; {}", netfilter::HOW_TO_GET));
    }
    if provider != Provider::External {
        return Ok(());
    }
    let name = fault.name();
    match catalogue::find(name).map(|row| row.managed) {
        Some(Managed::Yes) => Ok(()),
        Some(Managed::No(reason)) => refused(name, reason),
        Some(Managed::Proxied) => proxied(fault, external),
        None => refused(name, "the catalogue of faults does not say whether it may"),
    }
}

/// [`supports`] for every fault of a plan, and for what they do to each other.
///
/// # Errors
///
/// A sentence that names the fault and the reason.
pub fn supports_all(
    provider: Provider,
    external: Option<&External>,
    faults: &[PlannedFault],
) -> Result<(), String> {
    faults.iter().try_for_each(|planned| supports(provider, external, &planned.fault))?;
    let fills = faults.iter().any(|planned| planned.fault == FaultKind::PostgresDiskFull);
    let ends = faults.iter().find(|planned| {
        matches!(
            planned.fault,
            FaultKind::ServiceStop { service: Service::Postgres }
                | FaultKind::ServiceKill { service: Service::Postgres }
        )
    });
    match ends {
        Some(_) if fills && provider == Provider::Docker => Err(
            "the docker provider cannot stop or kill postgres in a plan that has postgres-disk-full: the small file \
             system is gone when its container ends"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// The links that a fault strikes.
pub(super) fn links_of(fault: &FaultKind) -> Vec<LinkName> {
    let effects = Effects::of(0, 0, fault);
    effects.cut.into_iter().chain(effects.degraded).collect()
}

fn proxied(fault: &FaultKind, external: Option<&External>) -> Result<(), String> {
    let Some(external) = external else { return Ok(()) };
    for link in links_of(fault) {
        let unproxied = |reason| format!("{link} does not go through a proxy: {reason}");
        let refusal = match external.way(link.service) {
            Ok(Way::ByAddress) => continue,
            Ok(Way::ByName) => match unseen_by_name(fault) {
                Some(reason) => format!("{link} goes by name, and {reason}"),
                None => continue,
            },
            Err(reason) => unproxied(reason),
        };
        return refused(fault.name(), &refusal);
    }
    Ok(())
}

/// Why a fault could not be shown on a link whose service is reached by name.
fn unseen_by_name(fault: &FaultKind) -> Option<&'static str> {
    let transfers = |toxic: &Toxic| {
        matches!(
            toxic,
            Toxic::Bandwidth { .. }
                | Toxic::Slicer { .. }
                | Toxic::LimitData { .. }
                | Toxic::SlowClose { .. }
        )
    };
    if matches!(fault, FaultKind::LinkLoss { .. }) {
        return Some(
            "its proxy shares a port with those of other processes, which is what packets are lost by",
        );
    }
    matches!(fault, FaultKind::LinkToxic { toxic, .. } if transfers(toxic))
        .then_some("the transfer that would show it is made without TLS")
}

fn refused(fault: &str, reason: &str) -> Result<(), String> {
    Err(format!("the external provider cannot do {fault}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(redis: &str) -> External {
        External::at("postgres://u:p@db.example:5432/chat?sslmode=require", redis)
    }

    #[test]
    fn a_managed_service_is_not_stopped() {
        let fault = FaultKind::ServiceStop { service: Service::Postgres };
        let refusal = supports(Provider::External, Some(&external("redis://r:1")), &fault).unwrap_err();
        assert!(
            refusal.contains("service-stop") && refusal.contains("managed by somebody else"),
            "{refusal}"
        );
        assert_eq!(supports(Provider::Host, None, &fault), Ok(()));
    }

    #[test]
    fn a_container_that_ends_takes_its_small_disk_with_it() {
        let at = |fault| PlannedFault { at_ms: 0, for_ms: 1, fault };
        let stop = || at(FaultKind::ServiceStop { service: Service::Postgres });
        let both = [at(FaultKind::PostgresDiskFull), stop()];
        assert!(supports_all(Provider::Docker, None, &both).unwrap_err().contains("postgres-disk-full"));
        assert_eq!(supports_all(Provider::Docker, None, &both[..1]), Ok(()));
        assert_eq!(supports_all(Provider::Docker, None, &[stop()]), Ok(()));
        let external = external("redis://r:1");
        for fault in [
            FaultKind::PostgresDiskFull,
            FaultKind::PostgresConnectionLimit,
            FaultKind::RedisOutputBuffer { links: Vec::new() },
        ] {
            assert!(supports(Provider::External, Some(&external), &fault).is_err(), "{fault}");
        }
        for fault in [
            FaultKind::KafkaPoison,
            FaultKind::KafkaRebalance,
            FaultKind::KafkaPartitionsAdded { partitions: 1 },
        ] {
            assert_eq!(supports(Provider::External, Some(&external), &fault), Ok(()), "{fault}");
        }
    }

    #[test]
    fn links_are_cut_where_they_are_proxied() {
        let cut = |link: &str| FaultKind::LinkDown { links: vec![link.parse().unwrap()] };
        let mut plain = external("redis://cache.example:6379");
        assert_eq!(supports(Provider::External, Some(&plain), &cut("node-1->redis")), Ok(()));
        assert_eq!(supports(Provider::External, Some(&plain), &cut("node-1->postgres")), Ok(()));
        plain.kafka_brokers = "10.0.0.1:9092".to_owned();
        let refusal = supports(Provider::External, Some(&plain), &cut("node-1->kafka")).unwrap_err();
        assert!(refusal.contains("node-1->kafka") && refusal.contains("host name"), "{refusal}");
        let encrypted = external("rediss://10.0.0.1:6379");
        assert!(supports(Provider::External, Some(&encrypted), &cut("node-1->redis")).is_err());
    }
}
