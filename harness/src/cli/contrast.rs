//! `squall contrast SCENARIO`: the same plan under both topologies, side by side.
//!
//! Ends as `durable-first` does. That `relay` loses messages is what is to be shown: it is said, and no failure.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, errors, errors::CliError};
use crate::{
    environment,
    exit::Exit,
    plan::{Plan, Topology},
    progress::Progress,
    report::contrast::{Contrast, JSON, PAGE},
    run::{self, Finished},
    scenario::{Choices, library},
};

#[derive(Debug, Args)]
pub(super) struct ContrastArgs {
    /// A scenario's name (see `squall list`) or a .toml file.
    scenario: String,
    /// Where everything random comes from, in both runs; drawn and reported when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Run folders go below this.
    #[arg(long, default_value = "reports")]
    out: PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

pub(super) async fn contrast(args: ContrastArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let seed = args.seed.unwrap_or_else(errors::fresh_seed);
    let durable_first = carry_out(&args, seed, Topology::DurableFirst, &progress, cancel).await?;
    let relay = carry_out(&args, seed, Topology::Relay, &progress, cancel).await?;
    progress.finish();

    let table = Contrast::of(durable_first.judged.report(), relay.judged.report());
    let json = serde_json::to_string_pretty(&table).map_err(std::io::Error::other);
    let json = json.map_err(|source| CliError::Write { path: JSON.to_owned(), source })?;
    let mut places = Vec::new();
    for finished in [&durable_first, &relay] {
        for (name, text) in [(JSON, &json), (PAGE, &table.markdown())] {
            errors::write(&finished.folder.path().join(name), text)?;
        }
        places.push(finished.folder.path().join(PAGE).display().to_string());
    }
    errors::print(&format!("{}{}", table.render(), places.join("\n")));
    Ok(durable_first.judged.exit())
}

async fn carry_out(
    args: &ContrastArgs,
    seed: u64,
    topology: Topology,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Finished, CliError> {
    let request = args.services.request(plan(&args.scenario, seed, topology)?, &args.out)?;
    progress.say(format!("topology {topology}"));
    Ok(run::run(&request, progress, cancel).await?)
}

/// The scenario's plan; the two differ in nothing but the topology (and the rooms' prefix, where they share a database).
fn plan(scenario: &str, seed: u64, topology: Topology) -> Result<Plan, CliError> {
    let found = library::find(scenario)?;
    let choices = Choices {
        seed,
        topology: Some(topology),
        room_prefix: format!("squall-{:08x}-{}-{topology}-", seed & 0xffff_ffff, std::process::id()),
        ..Choices::default()
    };
    Ok(found.plan(&choices)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_plans_differ_in_nothing_but_the_topology_and_the_prefix_of_rooms() {
        let durable_first = plan("node-kill", 7, Topology::DurableFirst).unwrap();
        let mut relay = plan("node-kill", 7, Topology::Relay).unwrap();
        assert_ne!(relay.load.room_prefix, durable_first.load.room_prefix);
        assert_eq!(relay.cluster.topology, Topology::Relay);
        relay.cluster.topology = Topology::DurableFirst;
        relay.load.room_prefix.clone_from(&durable_first.load.room_prefix);
        assert_eq!(relay, durable_first);
    }
}
