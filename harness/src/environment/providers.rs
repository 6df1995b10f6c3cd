//! Who runs the services: the Docker engine, this machine, or somebody else.

pub(crate) mod docker;
mod external;
mod host;

use super::{
    EnvironmentSpec,
    contract::{Provider, ProviderChoice, Up},
    error::EnvironmentError,
    registry::Registry,
};
use crate::progress::Progress;

impl ProviderChoice {
    /// Which provider this machine makes of it. `auto` says why it takes the host where it does.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::NoEngine`] when Docker was asked for and does not answer, and
    /// [`EnvironmentError::EngineElsewhere`] when it does so from another machine.
    pub async fn resolve(self, progress: &Progress) -> Result<Provider, EnvironmentError> {
        match self {
            Self::Host => Ok(Provider::Host),
            Self::External => Ok(Provider::External),
            Self::Docker => docker::engine().await.map(|_| Provider::Docker),
            Self::Auto => Ok(match docker::engine().await {
                Ok(_) => Provider::Docker,
                Err(why) => take_host(progress, &why),
            }),
        }
    }
}

/// What `auto` does when Docker is of no use.
pub(crate) fn take_host(progress: &Progress, why: &EnvironmentError) -> Provider {
    progress.say(format!("taking the host provider: {why}"));
    Provider::Host
}

/// Brings services and proxies up. What was started is ended again when this fails or is dropped halfway.
pub(crate) async fn up(
    provider: Provider,
    spec: &EnvironmentSpec<'_>,
    registry: &Registry,
    progress: &Progress,
) -> Result<Up, EnvironmentError> {
    match provider {
        Provider::Host => Box::pin(host::Host::up(spec, registry, progress)).await,
        Provider::Docker => Box::pin(docker::Docker::up(spec, registry, progress)).await,
        Provider::External => Box::pin(external::ExternalServices::up(spec, registry, progress)).await,
    }
}
