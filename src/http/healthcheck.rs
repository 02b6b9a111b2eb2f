//! `healthcheck`: asks the exporter on this machine whether it is healthy. For images without a shell.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::listen;
use super::secp521r1::Secp521r1;
use super::site::Health;

/// For all attempts together; container runtimes wait longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The expected response is smaller.
const LARGEST_RESPONSE: u64 = 16 * 1024;
/// The first byte of a TLS server's response to a plain request: an alert.
const TLS_ALERT: u8 = 21;

/// Why the exporter is not known to be healthy.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {problem}")]
pub struct Unhealthy {
    address: String,
    problem: String,
}

/// Requests the health of the exporter that listens on this address (in the notation of `--web.listen-address`), over
/// TLS if the server uses it. Returns the address that responded.
///
/// # Errors
/// [`Unhealthy`] if no response arrives within a few seconds, or an unexpected one.
pub async fn healthcheck(address: &str, health: Health) -> Result<String, Unhealthy> {
    let unhealthy = |problem: String| Unhealthy { address: address.to_owned(), problem };
    let asked = tokio::time::timeout(TIMEOUT, ask_one_of(listen::local(address), health)).await;
    let late = |_| Err(format!("timed out after {}s waiting for a response", TIMEOUT.as_secs()));
    asked.unwrap_or_else(late).map_err(unhealthy)
}

/// Tries the addresses until one responds like a healthy exporter; returns that one.
async fn ask_one_of(addresses: Vec<String>, health: Health) -> Result<String, String> {
    let several = addresses.len() > 1;
    let mut problems = Vec::new();
    for address in addresses {
        match ask(&address, health).await {
            Ok(()) => return Ok(address),
            Err(problem) if several => problems.push(format!("{address}: {problem}")),
            Err(problem) => problems.push(problem),
        }
    }
    Err(problems.join("; "))
}

async fn ask(address: &str, health: Health) -> Result<(), String> {
    let connect = async || TcpStream::connect(address).await.map_err(|error| format!("cannot connect: {error}"));
    let asked_for_certificate = Arc::new(NoCertificate::default());
    let config = client_config(asked_for_certificate.clone()).map_err(|error| format!("cannot set up TLS: {error}"))?;
    let connector = TlsConnector::from(Arc::new(config));
    // TLS does not send this name, because it is an address.
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    // TLS first: a server with TLS warns of each client that does not speak it, one without TLS does not.
    let over_tls = match connector.connect(name, connect().await?).await {
        Ok(stream) => exchange(stream, address, health.path).await,
        Err(error) => Err(error),
    };
    let problem = match over_tls {
        Ok(response) => return judge(&response, health),
        // The server has completed the handshake up to the point where it needs a client certificate.
        Err(_) if asked_for_certificate.0.load(Ordering::Relaxed) => return Ok(()),
        Err(problem) => problem,
    };
    let response =
        exchange(connect().await?, address, health.path).await.map_err(|error| format!("no response: {error}"))?;
    match response.first() {
        Some(&TLS_ALERT) => Err(format!("no response over TLS: {problem}")),
        _ => judge(&response, health),
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, address: &str, path: &str) -> io::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    match stream.take(LARGEST_RESPONSE).read_to_end(&mut response).await {
        // A server that closes the connection abruptly has sent everything it wanted to.
        Err(error) if response.is_empty() => Err(error),
        _ => Ok(response),
    }
}

fn judge(response: &[u8], health: Health) -> Result<(), String> {
    let response = String::from_utf8_lossy(response);
    let status = response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_whitespace().next());
    match status {
        Some("200") if response.contains(health.body) => Ok(()),
        Some("200") => Err("another program responds there".to_owned()),
        Some(status) => Err(format!("the response has status {status}")),
        None => Err("the response is not HTTP".to_owned()),
    }
}

fn client_config(certificate: Arc<NoCertificate>) -> Result<ClientConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    // Of the curves that a web configuration can name, rustls leaves this one out.
    provider.kx_groups.push(&Secp521r1);
    let provider = Arc::new(provider);
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    Ok(config.with_client_cert_resolver(certificate))
}

/// Accepts any certificate. The request contains no secret, and a certificate that has expired or is being replaced
/// must not make a healthy exporter look unhealthy.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Presents no certificate, and notes whether the server requested one.
#[derive(Debug, Default)]
struct NoCertificate(AtomicBool);

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
