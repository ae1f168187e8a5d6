//! The way to the database: its URL, TLS, a connection's settings, the pool.

use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    TimeoutType, Timeouts,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use crate::StoreError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take; those that walk through much set their own.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a caller waits for a free connection.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that a connection needs.
pub(super) struct Link {
    config: Config,
    tls: MakeRustlsConnect,
    pool: Pool,
    /// Commits of which it could not be found out whether they were made.
    unknown_commits: AtomicU64,
}

impl Link {
    /// Reads the URL; nothing is connected yet. `connections` is the pool's size.
    pub(super) fn new(url: &str, connections: usize) -> Result<Self, StoreError> {
        let Address { config, tls } = Address::parse(url)?;
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(WAIT_TIMEOUT),
                create: Some(CONNECT_TIMEOUT),
                recycle: Some(CONNECT_TIMEOUT),
            })
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let settings = settings(STATEMENT_TIMEOUT);
                    client
                        .batch_execute(&settings)
                        .await
                        .map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self {
            config,
            tls,
            pool,
            unknown_commits: AtomicU64::new(0),
        })
    }

    /// A connection out of the pool.
    pub(super) async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Closed => StoreError::Closed,
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                unreachable(error)
            }
            PoolError::Timeout(TimeoutType::Wait) => {
                StoreError::Unavailable("all connections are busy".to_owned())
            }
            error => StoreError::Unavailable(error.to_string()),
        })
    }

    /// A connection of its own, outside the pool, with its messages.
    pub(super) async fn own_connection(&self) -> Result<OwnConnection, StoreError> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, connection) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| StoreError::Unavailable("no connection came about in time".to_owned()))?
            .map_err(unreachable)?;
        Ok(OwnConnection { client, connection })
    }

    /// No connection is given out any more.
    /// How many commits there were of which it could not be found out whether they were made.
    pub(super) fn unknown_commits(&self) -> u64 {
        self.unknown_commits.load(Ordering::Acquire)
    }

    /// Counts one more.
    pub(super) fn count_unknown_commit(&self) {
        self.unknown_commits.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }
}

/// A client, and what has to be polled for it to work.
pub(super) struct OwnConnection {
    pub(super) client: tokio_postgres::Client,
    pub(super) connection: tokio_postgres::Connection<
        tokio_postgres::Socket,
        <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
    >,
}

/// What could not be connected: wrong settings (which trying again does not mend) are told apart
/// by their text only, since a password may be changed while a node runs.
fn unreachable(error: tokio_postgres::Error) -> StoreError {
    match StoreError::from(error) {
        StoreError::Failed(why) => StoreError::Unavailable(why),
        other => other,
    }
}

/// What each connection is set to: commits wait for the disk, and nothing hangs for ever, on
/// either side.
pub(super) fn settings(statement_timeout: Duration) -> String {
    format!(
        "SET statement_timeout = {};
         SET idle_in_transaction_session_timeout = 10000;
         SET jit = off;
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';",
        statement_timeout.as_millis()
    )
}

struct Address {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Address {
    fn parse(text: &str) -> Result<Self, StoreError> {
        let mut url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(refused("it must begin with postgres:// or postgresql://"));
        }
        let mut mode = "prefer".to_owned();
        let mut root = None;
        let mut rest = Vec::new();
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" => mode = value.into_owned(),
                "sslrootcert" => root = Some(value.into_owned()),
                _ => rest.push((name.into_owned(), value.into_owned())),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            // Not `query_pairs_mut`: it writes a space as `+`, which libpq's form does not know.
            let encode = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes())
                    .collect::<String>()
                    .replace('+', "%20")
            };
            let query: Vec<_> = rest
                .iter()
                .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
                .collect();
            url.set_query(Some(&query.join("&")));
        }
        let mut config = Config::from_str(url.as_str()).map_err(|error| {
            let why = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            refused(&why)
        })?;
        let verified = match mode.as_str() {
            "disable" => {
                config.ssl_mode(SslMode::Disable);
                false
            }
            "allow" | "prefer" => {
                config.ssl_mode(SslMode::Prefer);
                false
            }
            "require" => {
                config.ssl_mode(SslMode::Require);
                root.is_some()
            }
            "verify-full" => {
                config.ssl_mode(SslMode::Require);
                true
            }
            "verify-ca" => {
                return Err(refused(
                    "sslmode=verify-ca is not supported: use verify-full, which also checks the name",
                ));
            }
            _ => {
                return Err(refused(
                    "sslmode must be disable, prefer, require or verify-full",
                ));
            }
        };
        if config.get_application_name().is_none() {
            config.application_name("signpost");
        }
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(2)
            .tcp_user_timeout(Duration::from_secs(15));
        let tls = MakeRustlsConnect::new(tls_config(verified, root.as_deref())?);
        Ok(Self { config, tls })
    }
}

fn refused(why: &str) -> StoreError {
    StoreError::Failed(format!("the database URL cannot be used: {why}"))
}

fn tls_config(verified: bool, root: Option<&str>) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    if !verified {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = root.filter(|path| *path != "system") {
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(|error| refused(&format!("sslrootcert {path}: {error}")))?;
        for certificate in certificates {
            let certificate =
                certificate.map_err(|error| refused(&format!("sslrootcert {path}: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| refused(&format!("sslrootcert {path}: {error}")))?;
        }
    } else {
        let (_, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// For `sslmode=prefer` and `require`, which encrypt without asking who it is, as every client
/// of PostgreSQL does under these names.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        match Address::parse(url) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_url_is_read_as_other_clients_read_it() {
        let address = Address::parse(
            "postgres://ann:p%40ss@db.example:6432/signpost?sslmode=require&options=-csearch_path%3Dt_1&application_name=x",
        )
        .unwrap();
        let config = address.config;
        assert_eq!(config.get_user(), Some("ann"));
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(config.get_ports(), [6432]);
        assert_eq!(config.get_dbname(), Some("signpost"));
        assert_eq!(config.get_options(), Some("-csearch_path=t_1"));
        assert_eq!(config.get_application_name(), Some("x"));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            Address::parse("postgresql://db.example/x")
                .unwrap()
                .config
                .get_ssl_mode(),
            SslMode::Prefer
        );
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_without_its_password() {
        for (url, expected) in [
            ("mysql://ann:secret@db/x", "must begin with postgres://"),
            ("postgres://ann:secret@db/x?sslmode=yes", "sslmode must be"),
            (
                "postgres://ann:secret@db/x?sslmode=verify-ca",
                "verify-full",
            ),
            (
                "postgres://ann:secret@db/x?sslmode=verify-full&sslrootcert=/nowhere.pem",
                "/nowhere.pem",
            ),
            ("postgres://ann:secret@db:port/x", "port"),
        ] {
            let problem = problem(url);
            assert!(problem.contains(expected), "{url}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
