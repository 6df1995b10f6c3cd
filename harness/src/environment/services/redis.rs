//! How Redis is set up, whoever runs it, and how a client of it begins.

use std::{path::Path, sync::Arc};

use fred::{
    error::{Error, ErrorKind},
    types::config::{Config, TlsConfig, TlsConnector},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::environment::contract::Endpoints;

/// Settings that differ from the defaults, as arguments: no persistence, as Pub/Sub needs none.
pub(crate) const SETTINGS: [&str; 6] = ["--save", "", "--appendonly", "no", "--daemonize", "no"];

/// Without password and TLS: it listens on this machine alone.
pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// What every Redis client of the harness begins with: where, and how secured.
///
/// # Errors
///
/// The address, or the file of authorities, cannot be used.
pub fn config(at: &Endpoints) -> Result<Config, Error> {
    let mut config = Config::from_url(&at.redis_url)?;
    if config.tls.is_some() {
        config.tls = Some(tls(at)?);
    }
    Ok(config)
}

fn tls(at: &Endpoints) -> Result<TlsConfig, Error> {
    let roots = Arc::new(match &at.redis_ca {
        Some(file) => authorities(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    });
    let Some(name) = &at.redis_name else {
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        return Ok(TlsConnector::from(tls).into());
    };
    let broken = |error: String| Error::new(ErrorKind::Tls, error);
    let name = ServerName::try_from(name.clone()).map_err(|error| broken(error.to_string()))?;
    let inner = WebPkiServerVerifier::builder(roots).build().map_err(|error| broken(error.to_string()))?;
    let tls = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CertifiedAs { name, inner }))
        .with_no_client_auth();
    Ok(TlsConnector::from(tls).into())
}

/// The authorities in a file.
fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let unusable = |why: String| Error::new(ErrorKind::Tls, format!("the CA file {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Compares the certificate with the service's own name, whatever address was dialled.
#[derive(Debug)]
struct CertifiedAs {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for CertifiedAs {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
