//! A wire between a client and a server that can be cut, or that swallows an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    cut: AtomicBool,
    /// Requests with these bytes are let through, and their answers are not, so many times.
    swallow: Mutex<Option<(Vec<u8>, usize)>>,
    swallowed: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

pub struct Proxy {
    address: String,
    state: Arc<State>,
}

impl Proxy {
    /// Passes connections on to `server`.
    pub fn to(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let (shared, server) = (state.clone(), server.to_owned());
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let (state, server) = (shared.clone(), server.clone());
                std::thread::spawn(move || connect(client, &server, &state));
            }
        });
        Proxy { address, state }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Breaks all connections and lets none through, until it is mended.
    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::SeqCst);
        if cut {
            for stream in self.state.open.lock().unwrap().drain(..) {
                // Gone already, maybe.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Lets the next `times` requests that contain `word` through, but not their answers.
    pub fn swallow_answers(&self, word: &str, times: usize) {
        *self.state.swallow.lock().unwrap() = Some((word.as_bytes().to_vec(), times));
    }

    pub fn swallowed(&self) -> usize {
        self.state.swallowed.load(Ordering::SeqCst)
    }
}

fn connect(client: TcpStream, server: &str, state: &Arc<State>) {
    if state.cut.load(Ordering::SeqCst) {
        return;
    }
    let Ok(server) = TcpStream::connect(server) else { return };
    state.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    let mute = Arc::new(AtomicBool::new(false));
    let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let muted = mute.clone();
    std::thread::spawn(move || {
        pump(from_server, to_client, |_| !muted.load(Ordering::SeqCst));
    });
    pump(client, server, |bytes| {
        let mut swallow = state.swallow.lock().unwrap();
        if let Some((word, times)) = &mut *swallow
            && bytes.windows(word.len()).any(|w| w == word)
        {
            mute.store(true, Ordering::SeqCst);
            state.swallowed.fetch_add(1, Ordering::SeqCst);
            *times -= 1;
            if *times == 0 {
                *swallow = None;
            }
        }
        true
    });
}

/// Passes bytes on while `pass` allows it. What it does not allow ends the connection.
fn pump(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if !pass(&buffer[..n]) || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // Either side may be gone.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
