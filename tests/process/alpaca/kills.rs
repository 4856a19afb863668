//! SIGKILL between an order's call and its answer, for each way the answer can be lost: the next start asks by name.

use broker_doubles::alpaca::{Fault, Kind};

use super::bench::Bench;
use crate::truth::{buy, sell};

#[test]
fn killed_while_the_call_is_under_way() {
    let mut bench = Bench::ready();
    let kinds = [
        Kind::AcceptThenStall { ms: 5_000 },
        Kind::StallThenDrop { ms: 5_000 },
        Kind::AcceptThenClose,
        Kind::AcceptThenReset,
        Kind::AcceptHalfHeaders,
        Kind::ServerErrorAfter,
        Kind::ServerErrorBefore,
        Kind::Invisible { reads: 3 },
        Kind::AcceptNoId,
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        let calls = bench.asked("place");
        bench.fault("place", kind);
        let deal = if n % 2 == 0 { sell(0, 1_500) } else { buy(0, 1_500) };
        bench.mine(&[deal]);
        // The double has written its line before it answers: the kill comes before, with or after the answer.
        bench.until("the call arrived", || bench.asked("place") > calls);
        bench.kill();
        bench.start();
        bench.settles();
    }
    bench.ends_clean();
}

#[test]
fn killed_again_and_again_while_everything_is_lost() {
    let mut bench = Bench::ready();
    bench.double.fault(Fault::times("place", 6, Kind::AcceptThenReset));
    for n in 0..6 {
        let calls = bench.asked("place");
        bench.mine(&[sell(0, 1_000), buy(1, 2_500), sell(2, 500 + n)]);
        bench.until("a call arrived", || bench.asked("place") > calls);
        bench.kill();
        bench.start();
    }
    bench.ends_clean();
    let per_name = |name: &str| {
        bench
            .double
            .log()
            .iter()
            .filter(|e| e.created.is_some() && e.client_order_id.as_deref() == Some(name))
            .count()
    };
    assert!(bench.double.orders().iter().all(|order| per_name(&order.client_order_id) == 1));
}

#[test]
fn killed_between_two_executions() {
    let mut bench = Bench::ready();
    let fills = vec![("0.25".parse().unwrap(), None); 4];
    bench.fault("place", Kind::Partial { fills, then: "fill".into() });
    bench.mine(&[buy(0, 3_000)]);
    bench.until("a part is booked", || {
        bench.hedges().iter().any(|row| !matches!(row["executed"].as_str(), None | Some("0")))
    });
    bench.kill();
    bench.start();
    bench.ends_clean();
}
