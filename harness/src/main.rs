//! `squall`: see `squall --help`, and the README for what the exit codes mean.

use std::{io::Write, process::ExitCode};

use harness::shipped::{self, Carried, Text};

/// Files below a folder of the checkout.
macro_rules! texts {
    ($folder:literal: $($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../../", $folder, "/", $name)))),*]
    };
}

#[rustfmt::skip]
const SCENARIOS: &[Text] = texts!["scenarios":
    "ambiguous-commit.toml",
    "bad-frames.toml",
    "brown-out.toml",
    "client-crash.toml",
    "clock-skew.toml",
    "half-close.toml",
    "kafka-outage.toml",
    "kafka-partitions-added.toml",
    "kafka-reset.toml",
    "long/gate.toml",
    "long/ten-minute-storm.toml",
    "node-kill-each.toml",
    "node-kill.toml",
    "node-pause.toml",
    "packet-loss.toml",
    "poison-record.toml",
    "postgres-black-hole.toml",
    "postgres-connection-limit.toml",
    "postgres-disk-full.toml",
    "postgres-flap.toml",
    "postgres-lock.toml",
    "postgres-outage.toml",
    "postgres-read-only.toml",
    "postgres-terminate.toml",
    "rebalance-while-paused.toml",
    "reconnect-storm.toml",
    "redis-black-hole.toml",
    "redis-client-kill.toml",
    "redis-outage.toml",
    "redis-output-buffer.toml",
    "rolling-restart.toml",
    "slow-kafka.toml",
    "slow-readers.toml",
    "smoke.toml",
    "storm.toml",
    "writer-kill-mid-insert.toml",
    "writer-kill.toml",
    "zombie-writer.toml",
];

const SERVICES: &[Text] =
    texts!["harness/services": "install", "log4j2.properties", "policy-guard", "while-telling",];

fn main() -> ExitCode {
    // Before anything reads a variable.
    if let Err(error) = harness::surroundings::enter() {
        let _ =
            writeln!(std::io::stderr(), "squall cannot start itself again in a clean environment: {error}");
        return harness::exit::Exit::Environment.into();
    }
    shipped::carry(Carried { scenarios: SCENARIOS, services: SERVICES });
    harness::cli::main().into()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Listed by hand, as `include_str!` takes no folder, and a build script would compile the library for every edit.
    #[test]
    fn every_scenario_is_carried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut there: Vec<String> = ["", "long/"]
            .iter()
            .flat_map(|below| {
                let names = fs::read_dir(folder.join(below)).unwrap().map(|entry| entry.unwrap().file_name());
                names.map(move |name| format!("{below}{}", name.to_string_lossy()))
            })
            .filter(|name| name.ends_with(".toml"))
            .collect();
        there.sort();
        assert_eq!(SCENARIOS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), there);
    }
}
