//! What a load's TLS trusts and shows, read from its files once before anything is sent.
//!
//! Start at [`config`].

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};
use crate::spec::Tls;

/// Sessions kept for resumption, oldest forgotten: one a connection up to this many.
const SESSIONS: usize = 4_096;

/// The settings of TLS, with the names of the protocols that are spoken inside, if they have names (ALPN). Fails with exit 2 where a file is not what it should be, with exit 3 where
/// the system trusts nobody.
pub fn config(tls: &Tls, alpn: &[&str]) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions of TLS");
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let mut config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let certs = certificates(&cert.value)?;
            let secret = PrivateKeyDer::from_pem_file(&key.value).map_err(|error| {
                unusable(&key.value, error).hint("it should hold a PEM private key, `BEGIN PRIVATE KEY`")
            })?;
            builder.with_client_auth_cert(certs, secret).map_err(|error| unusable(&cert.value, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption =
        if tls.resume { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

fn roots(tls: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = &tls.ca else {
        // A system's store may hold odd ones; those that can be read are what every client there trusts.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return if roots.is_empty() {
            Err(Error::environment("this system trusts no certificate authority")
                .hint("install its `ca-certificates`, or name one: `tls: { ca: FILE }`"))
        } else {
            Ok(roots)
        };
    };
    for certificate in certificates(&ca.value)? {
        roots.add(certificate).map_err(|error| unusable(&ca.value, error))?;
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(file, error))?;
    if found.is_empty() {
        return Err(Error::mistake(format!("`{file}` holds no certificate"))
            .hint("it should hold PEM certificates, `BEGIN CERTIFICATE`"));
    }
    Ok(found)
}

fn unusable(file: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::mistake(format!("`{file}` can't be used for TLS")).because(error)
}

/// Whom a server at `host` must be: `sni` where that is given. The error is the word for people.
pub fn server_name(sni: Option<&str>, host: &str) -> Result<ServerName<'static>, String> {
    let name = sni.unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` can't be the name of a TLS server"))
}

/// Takes every certificate, for `insecure`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
