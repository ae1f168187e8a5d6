//! A certificate authority for tests, and servers that use it well or badly.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::{Accepted, Socket};

/// The name that good certificates are for.
pub const HOST: &str = "hooks.example.com";

/// An authority that the egress under test trusts.
pub struct Authority {
    pub root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificates and key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("test root")
    }

    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            root,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for [`HOST`], good until 2049-12-31.
    pub fn good(&self) -> Identity {
        self.sign(&params_for(&[HOST]))
    }

    pub fn for_names(&self, names: &[&str]) -> Identity {
        self.sign(&params_for(names))
    }

    /// For [`HOST`], valid from the first of January of one year to that of another.
    pub fn valid(&self, from_year: i32, to_year: i32) -> Identity {
        let mut params = params_for(&[HOST]);
        params.not_before = date_time_ymd(from_year, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        self.sign(&params)
    }

    /// Names [`HOST`] in the subject only, as certificates did before 2000.
    pub fn common_name_only(&self) -> Identity {
        let mut params = params_for(&[]);
        params.distinguished_name.push(DnType::CommonName, HOST);
        self.sign(&params)
    }

    /// Signed by an intermediate authority whose certificate the server forgets to send.
    pub fn incomplete_chain(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let intermediate = Self {
            root: self.root.clone(),
            issuer: Issuer::new(authority_params("test intermediate"), key),
        };
        intermediate.good()
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn params_for(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

/// A server with these certificates and protocol versions that asks for no client certificate.
pub fn server(
    identity: Identity,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A server that requires a client certificate of `authority`.
pub fn server_for_known_clients(authority: &Authority) -> Arc<ServerConfig> {
    let identity = authority.good();
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    Arc::new(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Accepts TLS connections with `config`. After a failed handshake the socket stays open until
/// the client closes it, so that a reset does not overtake the alert that says why.
pub fn accept(config: Arc<ServerConfig>) -> impl Fn(TcpStream) -> Accepted + Send + Sync {
    move |stream| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        Box::pin(async move {
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => Some(Box::new(stream) as Box<dyn Socket>),
                Err((_, mut stream)) => {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    None
                }
            }
        })
    }
}

/// The server name a client asks for, without finishing the handshake.
pub async fn requested_name(stream: TcpStream) -> Option<String> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
        .await
        .ok()?;
    start.client_hello().server_name().map(ToOwned::to_owned)
}
