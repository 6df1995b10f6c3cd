//! Services whose names must stay: TLS compares them with the certificate, and Kafka's clients follow the names that the
//! brokers advertise.
//!
//! Each process resolves such a name to an address of its own on this machine's loopback, where its proxy listens on the
//! service's own port (`nss_wrapper`, a library that the loader puts between a process and the system's resolver).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use rand::Rng;

use super::{
    addresses::{redirect, with_parameter},
    contract::Endpoints,
};
use crate::plan::{ProcessName, Service};

/// Second bytes of the addresses that are drawn: all of 127/8 is this machine's, and the low ones are what people use.
const DRAWN_FROM: std::ops::RangeInclusive<u8> = 64..=254;

/// Addresses by name, as one process finds them.
pub type Hosts = BTreeMap<String, IpAddr>;

/// The services that are reached by name, and where the name leads each process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    /// `host:port`, as in their addresses.
    places: BTreeMap<Service, String>,
    /// Services that cannot be, and why.
    unreached: BTreeMap<Service, String>,
    hosts: BTreeMap<ProcessName, Hosts>,
}

impl Named {
    /// Draws an address for every name and process. Services behind one name differ by their ports.
    pub(crate) fn draw(
        processes: &[ProcessName],
        places: BTreeMap<Service, String>,
        unreached: BTreeMap<Service, String>,
    ) -> Self {
        let mut rng = rand::rng();
        let mut drawn = || {
            let second = rng.random_range(DRAWN_FROM);
            IpAddr::from(Ipv4Addr::new(127, second, rng.random(), rng.random_range(1..=254)))
        };
        let mut hosts = BTreeMap::new();
        for process in processes {
            let names = places.values().filter_map(|place| split(place)).map(|(host, _)| host.to_owned());
            // One after the other, so that a name which several services share is drawn for once.
            let mut own = Hosts::new();
            for name in names {
                own.entry(name).or_insert_with(&mut drawn);
            }
            hosts.insert(*process, own);
        }
        Self { places, unreached, hosts }
    }

    /// `host:port` of a service that is reached by name.
    pub(crate) fn place(&self, service: Service) -> Option<&str> {
        self.places.get(&service).map(String::as_str)
    }

    /// Why a service is reached without a proxy, if that showed only when it was asked.
    pub(crate) fn unreached(&self, service: Service) -> Option<&str> {
        self.unreached.get(&service).map(String::as_str)
    }

    /// Where a process finds the names.
    pub(crate) fn hosts(&self, process: ProcessName) -> Hosts {
        self.hosts.get(&process).cloned().unwrap_or_default()
    }

    /// Where a process's proxy in front of a service is to listen.
    pub(crate) fn listen(&self, process: ProcessName, service: Service) -> Option<SocketAddr> {
        let (host, port) = split(self.place(service)?)?;
        Some(SocketAddr::new(*self.hosts.get(&process)?.get(host)?, port))
    }

    /// How a client of the harness, whose resolver knows nothing of all this, goes a process's way: by address. The
    /// certificates are still those of the authorities that were named.
    pub(crate) fn by_address(&self, process: ProcessName, mut at: Endpoints) -> Endpoints {
        for (service, place) in &self.places {
            let Some(proxy) = self.listen(process, *service) else { continue };
            match service {
                Service::Postgres => {
                    let url = redirect(&at.postgres_url, proxy);
                    at.postgres_url = with_parameter(&url, "sslmode", "verify-ca");
                }
                Service::Redis => {
                    at.redis_url = redirect(&at.redis_url, proxy);
                    at.redis_name = split(place).map(|(host, _)| host.to_owned());
                }
                Service::Kafka => {
                    at.kafka_brokers = proxy.to_string();
                    if !at.kafka_options.is_empty() {
                        let by_name = "ssl.endpoint.identification.algorithm";
                        at.kafka_options.push((by_name.to_owned(), "none".to_owned()));
                    }
                }
            }
        }
        at.hosts.clear();
        at
    }
}

/// Host and port.
pub(crate) fn split(place: &str) -> Option<(&str, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

/// Names and addresses as in `/etc/hosts`.
pub fn hosts_file(hosts: &Hosts) -> String {
    hosts.iter().map(|(name, address)| format!("{address} {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_finds_a_name_at_an_address_of_its_own_and_services_by_their_ports() {
        let (one, two) = (ProcessName::Node(1), ProcessName::Node(2));
        let places = [(Service::Postgres, "db.example:5432"), (Service::Redis, "db.example:6380")];
        let places = places.map(|(service, place)| (service, place.to_owned())).into();
        let named = Named::draw(&[one, two], places, BTreeMap::new());
        let at = |process, service| named.listen(process, service).unwrap();
        assert_eq!(at(one, Service::Postgres).ip(), at(one, Service::Redis).ip());
        assert_ne!(at(one, Service::Postgres).ip(), at(two, Service::Postgres).ip());
        assert_eq!(at(two, Service::Redis).port(), 6380);
        assert_eq!(named.listen(one, Service::Kafka), None);
        let address = at(one, Service::Redis).ip();
        assert_eq!(hosts_file(&named.hosts(one)), format!("{address} db.example\n"));

        let direct = Endpoints {
            postgres_url: "postgres://u:p@db.example/chat?sslmode=verify-full&sslrootcert=/ca".to_owned(),
            redis_url: "rediss://u:p@db.example:6380".to_owned(),
            hosts: named.hosts(one),
            ..Endpoints::default()
        };
        let here = named.by_address(one, direct);
        assert_eq!(
            here.postgres_url,
            format!("postgres://u:p@{address}:5432/chat?sslrootcert=%2Fca&sslmode=verify-ca")
        );
        assert_eq!(here.redis_url, format!("rediss://u:p@{address}:6380"));
        assert_eq!(here.redis_name.as_deref(), Some("db.example"));
        assert!(here.hosts.is_empty());
    }
}
