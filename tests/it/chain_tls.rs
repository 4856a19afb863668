//! `wss://` against a node behind TLS: the trust store is the given file and nothing else, and no key of the URL shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use counterfill::chain::rpc::{Rpc, RpcError};
use counterfill::sim::{SimChain, SimNode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of our own, and a server certificate for `localhost` signed by it.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    (issuer.pem(), config)
}

/// Speaks TLS in front of `node`; returns its port and the heads of the requests that came in.
async fn in_front_of(node: &SimNode, config: ServerConfig) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind: SocketAddr = node.ws_url().trim_start_matches("ws://").trim_end_matches('/').parse().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(socket).await else { continue };
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(behind).await.unwrap();
                let mut head = vec![0; 4096];
                let read = tls.read(&mut head).await.unwrap();
                seen.lock().unwrap().push(String::from_utf8_lossy(&head[..read]).into_owned());
                inner.write_all(&head[..read]).await.unwrap();
                let _ = copy_bidirectional(&mut tls, &mut inner).await;
            });
        }
    });
    (port, heads)
}

async fn chain_id(url: &str, cert_file: Option<&Path>) -> Result<u64, RpcError> {
    Rpc::connect(url, cert_file).await?.chain_id().await
}

#[tokio::test]
async fn only_the_given_certificates_are_trusted() {
    let node = SimNode::start(SimChain::new(8453, 1, 7)).await.unwrap();
    let (ours, config) = authority();
    let (strangers, _) = authority();
    let (port, heads) = in_front_of(&node, config).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let url = format!("wss://user:pass@localhost:{port}/v3/SECRET");
    assert_eq!(chain_id(&url, Some(&file("ours.pem", &ours))).await, Ok(8453));
    let head = heads.lock().unwrap().first().unwrap().to_lowercase();
    assert!(head.contains("authorization: basic dxnlcjpwyxnz"), "basic auth of the URL: {head}");

    for (name, text) in [("strangers.pem", strangers.as_str()), ("empty.pem", ""), ("broken.pem", "no PEM")] {
        let error = chain_id(&url, Some(&file(name, text))).await.unwrap_err().to_string();
        assert!(error.contains(&format!("wss://localhost:{port}")), "{name}: {error}");
        assert!(!error.contains("SECRET") && !error.contains("pass"), "{name}: {error}");
    }
    let missing = chain_id(&url, Some(&folder.path().join("missing.pem"))).await.unwrap_err().to_string();
    assert!(missing.contains("SSL_CERT_FILE") && missing.contains("missing.pem"), "{missing}");
    // The system's store does not know our authority, whatever it holds.
    assert!(chain_id(&url, None).await.is_err());
    assert_eq!(heads.lock().unwrap().len(), 1, "nobody else got past the handshake");
}
