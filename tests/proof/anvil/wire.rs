//! The wire between bot and node: a TCP relay that can be cut, refuse, or take calls and never answer.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What happens to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It reaches the node.
    Through,
    /// It is closed at once.
    Refuse,
    /// It is taken, and nothing ever comes back.
    Silent,
}

struct State {
    mood: Mutex<Mood>,
    open: Mutex<Vec<[TcpStream; 2]>>,
    cuts: AtomicUsize,
}

pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

impl Wire {
    pub fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { mood: Mood::Through.into(), open: Mutex::default(), cuts: AtomicUsize::new(0) };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        // Ends with the test's process; a refused connection after the test disturbs nobody.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The bot may be gone before it is served.
                let _ = serve(&shared, stream, node);
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// From now on, for new connections.
    pub fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Cuts every connection; how many there were.
    pub fn cut(&self) -> usize {
        let mut open = self.open();
        for stream in open.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let count = open.len();
        open.clear();
        self.state.cuts.fetch_add(usize::from(count > 0), Ordering::Relaxed);
        count
    }

    /// Cuts that hit an open connection.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open().len()
    }

    /// Those that are open, after dropping what was closed from the far end.
    fn open(&self) -> MutexGuard<'_, Vec<[TcpStream; 2]>> {
        let mut open = self.state.open.lock().unwrap();
        open.retain(|pair| pair.iter().all(|stream| stream.peer_addr().is_ok()));
        open
    }
}

fn serve(state: &Arc<State>, bot: TcpStream, node: SocketAddr) -> io::Result<()> {
    let mood = *state.mood.lock().unwrap();
    let far = match mood {
        Mood::Refuse => return bot.shutdown(Shutdown::Both),
        // It is its own far end, and nobody copies.
        Mood::Silent => bot.try_clone()?,
        Mood::Through => TcpStream::connect(node)?,
    };
    bot.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // Before a byte goes through: what the bot calls a connection can be cut.
    state.open.lock().unwrap().push([bot.try_clone()?, far.try_clone()?]);
    if mood == Mood::Through {
        for (mut from, mut to) in [(bot.try_clone()?, far.try_clone()?), (far, bot)] {
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                // One side closed: so must the other, at once.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
    Ok(())
}
