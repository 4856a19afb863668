//! Bodies: orders of a test to read; pages for people, and gzip, to answer with.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::{Manner, Reply};

/// What a test wants of the double, out of the body it sent.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A page as an edge or a framework shows it.
pub(crate) fn page(status: u16, title: &str) -> Reply {
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    );
    of_kind(status, "text/html", body)
}

/// A line of plain text, as gateways answer.
pub(crate) fn plain(status: u16, text: &str) -> Reply {
    of_kind(status, "text/plain", format!("{text}\n"))
}

fn of_kind(status: u16, kind: &str, body: String) -> Reply {
    Reply {
        status,
        headers: vec![("Content-Type".into(), kind.into())],
        body: body.into_bytes(),
        manner: Manner::Whole,
        stall: Duration::ZERO,
    }
}

/// What is wrong with a gzipped body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// It ends in its middle, where the answer's length says that it should.
    Cut,
    /// Its sum is another's.
    Sum,
    /// It is small, and what it unpacks to is not.
    Bomb,
}

/// What a bomb unpacks to is so many times a mebibyte.
const BOMB_MEBIBYTES: usize = 64;

/// A reply as it is, packed though nobody asked for that.
pub(crate) fn gzipped(mut reply: Reply) -> Reply {
    reply.body = pack(&reply.body);
    reply.with("Content-Encoding", "gzip")
}

/// A reply that says it is packed, and can not be unpacked.
pub(crate) fn damaged(reply: Reply, damage: Damage) -> Reply {
    let mut reply = gzipped(reply);
    let length = reply.body.len();
    match damage {
        Damage::Cut => reply.body.truncate(length / 2),
        // The sum is in the eight bytes at the end, before the length.
        Damage::Sum => reply.body[length - 8] ^= 1,
        Damage::Bomb => reply.body = pack(&vec![b' '; 1 << 20]).repeat(BOMB_MEBIBYTES),
    }
    reply
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    // A vector takes what it is given.
    out.write_all(body).and_then(|()| out.finish()).unwrap_or_default()
}
