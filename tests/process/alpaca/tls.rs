//! https and wss with a certificate authority of one's own, and nobody else's.

use broker_doubles::alpaca::Kind;
use broker_doubles::tls::Authority;

use super::bench::Bench;
use crate::truth::{buy, sell};

#[test]
fn everything_over_tls() {
    let authority = Authority::new();
    let mut bench = Bench::with(Some(&authority));
    bench.over_tls(&authority);

    bench.trust(&Authority::new());
    bench.start();
    bench.until("not trusted", || bench.log().to_lowercase().contains("certificate"));
    bench.kill();
    assert!(bench.double.log().is_empty(), "no request got past the handshake");

    bench.trust(&authority);
    bench.start();
    bench.becomes_ready();
    for kind in [
        Kind::AcceptThenClose,
        Kind::AcceptThenReset,
        Kind::AcceptHalfHeaders,
        Kind::StallThenDrop { ms: 100 },
        Kind::ServerErrorAfter,
    ] {
        bench.fault("place", kind);
        bench.mine(&[sell(0, 1_100), buy(1, 1_300)]);
        bench.settles();
    }
    bench.ends_clean();
}
