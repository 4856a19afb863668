//! The simulated node on a thread of its own, so that a test may block as it likes.

use std::sync::mpsc;
use std::thread;

use counterfill::sim::{SimChain, SimNode};

/// The node, and what keeps it: it ends when the sender is dropped.
pub(crate) fn serve(chain: SimChain) -> (SimNode, mpsc::Sender<()>) {
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
