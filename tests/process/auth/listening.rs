//! `auth login --listen`: the browser itself brings the code, to a door that opens for our own login only.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use super::desk::{Desk, KEY};

/// A person who clicks the warning away, and could have compared the fingerprint.
#[derive(Debug)]
struct Clicked {
    known: WebPkiSupportedAlgorithms,
    fingerprint: Mutex<String>,
}

impl ServerCertVerifier for Clicked {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let hash: Vec<String> =
            digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        *self.fingerprint.lock().unwrap() = hash.join(":");
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
}

/// Asks the door; its status, its words, and the fingerprint that it showed.
fn ask(port: u16, request: &str) -> (u16, String, String) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let known = provider.signature_verification_algorithms;
    let clicked = Arc::new(Clicked { known, fingerprint: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Clicked>::clone(&clicked))
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).unwrap());
    write!(stream, "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    // A server that hangs up without saying so first is told by what it sent.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let fingerprint = clicked.fingerprint.lock().unwrap().clone();
    (status, answer, fingerprint)
}

/// A port at which nobody listens, and below those that the system hands out: no connection takes it in the meantime.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[test]
fn a_browser_brings_the_code_to_a_door_that_nobody_else_opens() {
    let mut desk = Desk::new();
    let port = free_port();
    let callback = format!("https://127.0.0.1:{port}");
    desk.double.rules(|rules| rules.callbacks.push(callback.clone()));
    desk.set("REDIRECT_URI", &callback);
    let mut begun = desk.begin(&["--listen"]);
    begun.hears("SHA-256");
    let fingerprint = begun.hears(":").trim().to_owned();
    begun.hears("waiting at");

    let state = begun.state().to_owned();
    let of_nobody = "/?code=C0.x.y%40&session=s";
    let rows = [
        (format!("GET {of_nobody}"), 400, "does not say which login"),
        (format!("GET {of_nobody}&state=0123"), 400, "belongs to another login"),
        (format!("GET /?error=access_denied&state={state}"), 400, "said no"),
        (format!("GET /?state={state}"), 400, "no code in it"),
        (format!("GET /favicon.ico?code=x&state={state}"), 404, "only"),
        ("GET /".to_owned(), 404, "only"),
        (format!("POST {of_nobody}&state={state}"), 405, "only"),
    ];
    for (request, status, words) in rows {
        let (told, answer, shown) = ask(port, &request);
        assert_eq!((told, answer.contains(words)), (status, true), "{request}: {answer}");
        assert_eq!(shown, fingerprint, "what a person compares");
        assert!(!answer.contains("C0.x.y") && !answer.contains(&state), "{answer}");
        assert!(answer.to_lowercase().contains("cache-control: no-store"), "{answer}");
        desk.note(&answer);
    }
    assert_eq!(desk.asked("token"), 0, "nothing of that went to the broker");
    // A code that the broker does not take: the door stays open.
    let (status, answer, _) = ask(port, &format!("GET {of_nobody}&state={state}"));
    assert_eq!((status, answer.contains("30 seconds")), (400, true), "{answer}");

    let back = desk.browse(&begun.address);
    let (status, answer, _) = ask(port, &format!("GET {}", back.strip_prefix(&callback).unwrap()));
    assert_eq!((status, answer.contains("Logged in.")), (200, true), "{answer}");
    desk.note(&answer);
    let said = begun.ends(&desk);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(desk.stored(KEY).is_some());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the door is shut");
    desk.nothing_leaked();
}

#[test]
fn a_door_that_can_not_be_opened_says_what_to_do_instead() {
    let mut desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for callback in [
        format!("https://127.0.0.1:{}", taken.local_addr().unwrap().port()),
        "https://example.com/back".into(),
    ] {
        desk.set("REDIRECT_URI", &callback);
        let said = desk.auth(&["login", "--listen"]);
        assert_eq!((said.code, said.err.contains("without --listen")), (78, true), "{said:?}");
    }
    desk.nothing_leaked();
}
