//! The simulated node on a thread of its own, so that a test may block as it likes.

use std::sync::mpsc;
use std::thread;

use counterfill::sim::{Blooms, Provider, SimChain, SimNode};

/// The node, and what keeps it: it ends when the sender is dropped.
pub fn serve(chain: SimChain) -> (SimNode, mpsc::Sender<()>) {
    let (handle, handed) = mpsc::channel();
    let (keep, kept) = mpsc::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            handle.send(SimNode::start(chain).await.unwrap()).unwrap();
            let _ = tokio::task::spawn_blocking(move || kept.recv()).await;
        });
    });
    (handed.recv().unwrap(), keep)
}

/// The node behind a provider of Base, its chain as busy as that one, or by itself beside a quiet chain: the blooms of what
/// is mined from now on, the plan, and the lag of its index and its state.
#[allow(dead_code, reason = "not every test that has a node asks for it")]
pub fn behind_a_provider(node: &SimNode, of_base: bool) {
    let (blooms, provider) =
        if of_base { (Blooms::Full, Provider::BASE) } else { (Blooms::OfItsLogs, Provider::default()) };
    node.chain_mut(|chain| chain.blooms = blooms);
    node.become_provider(provider);
}
