#!/usr/bin/env bash
# A refused WebSocket upgrade, read with tokio-tungstenite 0.29.0 (which alloy's WebSocket transport connects with).
#
# One would guess: where a server answers the handshake with an HTTP error, `Error::Http(response)` holds its body; the
# field is an `Option<Vec<u8>>` and the response says `Content-Length: 32`.
# What happens: the body holds what happened to come in the same read as the end of the headers. Where headers and body
# come in two segments, as from many gateways, it is `Some([])`: an empty body, not a missing one, and no error.
# Why it matters: a provider says there why it refuses (a key, a quota, a plan). Whoever shows the body to find out why a
# bot does not hedge sees the words on one machine and nothing on another, and must not take "empty" for "said nothing".
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=$work/target
mkdir -p "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "refused-upgrade-body"
version = "0.0.0"
edition = "2021"
[dependencies]
tokio = { version = "=1.48.0", features = ["rt", "net", "io-util", "time", "macros"] }
tokio-tungstenite = { version = "=0.29.0", default-features = false, features = ["connect"] }
TOML
cat >"$work/src/main.rs" <<'RUST'
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Error;

const HEAD: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n";
const BODY: &str = "{\"error\":\"quota of key is over\"}";

/// What the client sees of the body if it comes so long after the headers.
async fn seen(after: Duration) -> Option<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await;
        if after.is_zero() {
            socket.write_all(format!("{HEAD}{BODY}").as_bytes()).await.unwrap();
        } else {
            socket.write_all(HEAD.as_bytes()).await.unwrap();
            tokio::time::sleep(after).await;
            socket.write_all(BODY.as_bytes()).await.unwrap();
        }
        let _ = socket.read(&mut request).await;
    });
    match tokio_tungstenite::connect_async(url).await {
        Err(Error::Http(response)) => {
            response.body().as_ref().map(|body| String::from_utf8_lossy(body).into_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let one = seen(Duration::ZERO).await;
    let two = seen(Duration::from_millis(300)).await;
    println!("in one segment:  {one:?}");
    println!("in two segments: {two:?}");
    let as_found = one.as_deref() == Some(BODY) && two.as_deref() == Some("");
    println!("{}", if as_found { "as found" } else { "the behaviour has changed" });
    std::process::exit(i32::from(!as_found));
}
RUST
cd "$work"
cargo --version
cargo run --quiet
