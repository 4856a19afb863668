//! The one trust store of this program, for wss, https and brokers alike: the file of `SSL_CERT_FILE`, else the
//! system's. Nothing is compiled in.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Every certificate that a server's may lead to.
///
/// # Errors
/// In words with the remedy, when the file can not be read or no certificate is found.
pub fn certificates(cert_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = match cert_file {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("SSL_CERT_FILE {} can not be read: {error}", path.display()))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if certificates.is_empty() {
        return Err("no trusted certificate was found; set SSL_CERT_FILE to a PEM file of them".into());
    }
    Ok(certificates)
}

/// How TLS is spoken to a server whose certificate must lead to one of them.
///
/// # Errors
/// As [`certificates`].
pub fn client(cert_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(cert_file)?);
    if added == 0 {
        return Err("no trusted certificate was found; set SSL_CERT_FILE to a PEM file of them".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
