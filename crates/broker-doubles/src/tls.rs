//! A certificate authority of one's own, and a server certificate for `localhost` and `127.0.0.1` signed by it.
//!
//! Made anew for every server that wants one; the authority's PEM is what a client is to trust.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a TLS server and its clients need.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The authority's certificate, as PEM.
    pub pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

impl Authority {
    /// A new authority with a new server certificate.
    ///
    /// # Panics
    /// Where no key can be made: a test can do nothing about that.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names, none wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two certificates of one name look to OpenSSL as if the server had signed its own.
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("two names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)
            .expect("the key is the certificate's");
        Self { pem: issuer.pem(), server: Arc::new(server) }
    }
}

impl Authority {
    /// The server's side, for a server of another kind than this crate's.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
