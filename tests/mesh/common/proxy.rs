//! A way between two ends of TCP that is slow, narrow, and cut when a test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// 1 Mbit/s, in bytes a second.
pub const MEGABIT: u64 = 125_000;

/// What a way is like now.
#[derive(Default)]
struct Way {
    /// Each way, ms.
    delay: AtomicU64,
    /// Bytes a second each way; 0: any number.
    rate: AtomicU64,
    /// What is on its way stays there, and nobody new gets through; nobody is told.
    cut: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Way {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Takes connections and passes what comes on to a target, until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    way: Arc<Way>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Way::default());
        let ways = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming() {
                if ways.has_ended() {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) else {
                    continue;
                };
                let both = [(&client, &server), (&server, &client)];
                for (from, to) in both {
                    pass(from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&ways));
                }
                ways.open.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, way }
    }

    /// So long each way, from now on.
    pub fn delay(&self, delay: Duration) {
        self.way.delay.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    /// So many bytes a second each way, from now on; 0: any number.
    pub fn rate(&self, bytes: u64) {
        self.way.rate.store(bytes, Ordering::SeqCst);
    }

    /// Pulls the cable: what is sent is lost with it, and nobody is told.
    pub fn cut(&self) {
        self.way.cut.store(true, Ordering::SeqCst);
    }

    /// Puts it back. What is on its way arrives, as with TCP it would be sent again.
    pub fn mend(&self) {
        self.way.cut.store(false, Ordering::SeqCst);
    }

    /// Ends all connections, and lets new ones through.
    pub fn reset(&self) {
        for stream in self.way.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.ended.store(true, Ordering::SeqCst);
        self.reset();
        // The listener looks whether it has ended when someone comes.
        let _ = TcpStream::connect(self.address);
    }
}

/// One way: what is read at a time is written after the delay, so that what follows is on its way at
/// the same time.
fn pass(mut from: TcpStream, mut to: TcpStream, way: Arc<Way>) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(64);
    let reads = Arc::clone(&way);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer) {
            let delay = Duration::from_millis(reads.delay.load(Ordering::SeqCst));
            let piece = buffer[..read].to_vec();
            if sender.send((Instant::now() + delay, piece)).is_err() || read == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in receiver {
            let rate = way.rate.load(Ordering::SeqCst);
            let narrow = Duration::from_micros(
                (piece.len() as u64 * 1_000_000).checked_div(rate).unwrap_or_default(),
            );
            thread::sleep(due.saturating_duration_since(Instant::now()).max(narrow));
            while way.is_cut() && !way.has_ended() {
                thread::sleep(Duration::from_millis(5));
            }
            if piece.is_empty() || to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
