//! Stands between a daemon and its database, which is away as soon as this is dropped.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A listening address that leads elsewhere.
#[derive(Debug)]
pub(crate) struct Relay {
    at: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// The URL of a database, and a relay on the way there.
    pub(crate) fn to(url: &str) -> (String, Self) {
        let (before, rest) = url.rsplit_once('@').unwrap();
        let (host, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (host, over) = (host.to_owned(), Arc::clone(&is_over));
        let accept = move || {
            while let Ok((near, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let far = TcpStream::connect(&host).unwrap();
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        };
        let relay = Self { at, is_over, thread: Some(thread::spawn(accept)) };
        (format!("{before}@{at}/{database}"), relay)
    }
}

/// Hands on what comes, until one side has enough.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the one who accepts; with it the listener ends.
        let _ = TcpStream::connect(self.at);
        let _ = self.thread.take().unwrap().join();
    }
}
