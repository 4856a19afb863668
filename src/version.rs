//! What this program is: version, revision, compiler, SQLite.
//!
//! The revision is stamped into the finished binary, so that a commit that changes no source rebuilds nothing. The
//! binary holds the mark `counterfill-revision=` exactly once, and behind it room for 59 bytes, `unknown` and spaces
//! at first. A later build step overwrites the beginning of that room with the revision and spaces up to 59 bytes:
//!
//! ```sh
//! offset=$(grep --only-matching --byte-offset --text 'counterfill-revision=' bot | cut -d: -f1)
//! printf '%-59s' "$REVISION" | dd of=bot bs=1 seek=$((offset + 21)) conv=notrunc
//! ```
//!
//! (On macOS the binary must be signed again afterwards: `codesign --force --sign - bot`.)

use serde::Serialize;

/// Bytes of `counterfill-revision=`. A number, and not the length of a second literal: the mark must be in the binary
/// once.
const MARK_BYTES: usize = 21;
/// Mark and room.
const STAMP_BYTES: usize = 80;

/// `used` keeps the linker from dropping it.
#[used]
static STAMP: [u8; STAMP_BYTES] =
    *b"counterfill-revision=unknown                                                    ";

/// The revision the binary was made from; `unknown` where it was not stamped.
#[must_use]
pub fn revision() -> String {
    // Opaque to the optimizer, which would otherwise read the unstamped bytes at compile time.
    let stamp = std::hint::black_box(&STAMP);
    String::from_utf8_lossy(&stamp[MARK_BYTES..]).trim_end().to_owned()
}

/// All that `bot version` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Of this crate.
    pub version: &'static str,
    /// The commit.
    pub revision: String,
    /// The compiler.
    pub rustc: &'static str,
    /// The SQLite that is linked in.
    pub sqlite: &'static str,
}

/// This program's.
#[must_use]
pub fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION"),
        revision: revision(),
        rustc: env!("COUNTERFILL_RUSTC"),
        sqlite: rusqlite::version(),
    }
}
