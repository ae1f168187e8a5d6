//! TLS to receivers: rustls with ring, TLS 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN.
//!
//! Trusted are the system's root certificates, Mozilla's bundled ones where the system has none,
//! and those the operator adds. They are loaded on the first `https` connection, not at start-up:
//! a process that only calls plain HTTP never pays for them.
//!
//! Revocation is not checked: there is no OCSP or CRL look-up, so a revoked certificate that is
//! otherwise valid is accepted, as by most HTTP clients. No client certificate is ever sent.

use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, PeerIncompatible, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{ErrorClass, Failure, find};

/// Makes TLS connections; loads its roots when first used.
pub(crate) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    connector: OnceCell<TlsConnector>,
}

/// A finished handshake.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// When the receiver's own certificate expires, Unix seconds; `None` if it cannot be read.
    pub(crate) not_after: Option<i64>,
    /// Whether both sides agreed on HTTP/2.
    pub(crate) http2: bool,
}

impl Tls {
    pub(crate) fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            extra_roots,
            connector: OnceCell::new(),
        }
    }

    pub(crate) async fn handshake(
        &self,
        name: ServerName<'static>,
        tcp: TcpStream,
    ) -> Result<Secured, Failure> {
        let connector = self
            .connector
            .get_or_try_init(|| load(self.extra_roots.clone()))
            .await?;
        let stream = connector.connect(name, tcp).await.map_err(|error| {
            match find::<rustls::Error>(&error) {
                Some(cause) => Failure::new(ErrorClass::Tls, reason(cause)),
                None => Failure::new(
                    ErrorClass::Tls,
                    format!("the connection broke during the TLS handshake: {error}"),
                ),
            }
        })?;
        let session = stream.get_ref().1;
        let not_after = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| not_after(leaf));
        let http2 = session.alpn_protocol() == Some(b"h2");
        Ok(Secured {
            stream,
            not_after,
            http2,
        })
    }
}

/// Reads the roots (a file of some 200 KB on most systems) off the runtime's threads.
async fn load(extra_roots: Vec<CertificateDer<'static>>) -> Result<TlsConnector, Failure> {
    let unavailable = |error: &dyn std::fmt::Display| {
        Failure::new(ErrorClass::Tls, format!("TLS is not available: {error}"))
    };
    tokio::task::spawn_blocking(move || client_config(extra_roots))
        .await
        .map_err(|error| unavailable(&error))?
        .map(|config| TlsConnector::from(Arc::new(config)))
        .map_err(|error| unavailable(&error))
}

fn client_config(extra_roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a system root certificate could not be read");
    }
    let (mut trusted, _) = roots.add_parsable_certificates(system.certs);
    if trusted == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        trusted = roots.len();
        tracing::info!("no system root certificates found, using the bundled ones");
    }
    let (added, refused) = roots.add_parsable_certificates(extra_roots);
    if refused > 0 {
        tracing::warn!(refused, "configured root certificates could not be used");
    }
    tracing::debug!(trusted, added, "root certificates loaded");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Says in a sentence why TLS failed.
pub(crate) fn reason(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(certificate) => certificate_reason(certificate),
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | E::AlertReceived(AlertDescription::ProtocolVersion) => {
            "protocol version: the receiver supports neither TLS 1.2 nor 1.3".into()
        }
        E::AlertReceived(AlertDescription::CertificateRequired) => {
            "client certificate: the receiver requires one, and none is sent".into()
        }
        E::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the receiver refused the handshake: no cipher in common, or it requires a client \
             certificate"
                .into()
        }
        E::AlertReceived(AlertDescription::UnrecognisedName) => {
            "name mismatch: the receiver does not serve this host name".into()
        }
        E::AlertReceived(alert) => format!("the receiver ended the handshake: {alert:?}"),
        E::InvalidMessage(_) => "the receiver does not speak TLS on this port".into(),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => "certificate expired".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => "certificate not yet valid".into(),
        C::Revoked => "certificate revoked".into(),
        C::UnknownIssuer => "certificate from an unknown issuer: self-signed, a private \
                             authority, or an incomplete chain"
            .into(),
        C::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "name mismatch: the certificate names no host (no subject alternative name)".into()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "name mismatch: the certificate is for another host".into()
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "certificate not made for servers".into()
        }
        C::BadSignature => "certificate with a signature that is not its issuer's".into(),
        other => format!("invalid certificate: {other}"),
    }
}
