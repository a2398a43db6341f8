//! The yardsticks: the least that a server can do with a packet, as separate processes.
//!
//! `recvfrom` makes one system call to receive and one to send per packet, as most servers do; `mmsg` takes and
//! gives whole batches. Both answer the beginning of the request, cut or padded to the size of the daemon's
//! 200, and read nothing of it. One blocking thread and one SO_REUSEPORT socket per shard of the daemon.

use crate::error::{Doing, Error};
use crate::sys::{DATAGRAM_BYTES_MAX, DatagramBatch};
use clap::ValueEnum;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};

/// Receive buffer asked for, so that a closed loop's window always fits.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Threads of one echo server.
pub(crate) const THREADS_COUNT_MAX: usize = 128;
/// What an echo server writes before its address once it listens.
pub(crate) const READY: &str = "ready ";

/// How packets are received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// recvfrom and sendto: two system calls a packet.
    Recvfrom,
    /// recvmmsg and sendmmsg: two system calls a batch.
    Mmsg,
}

/// Serves until the process is killed; says on standard output where, once it listens.
pub(crate) fn serve(mode: Mode, listen: SocketAddr, threads: usize, reply_bytes: usize) -> Result<(), Error> {
    if !listen.ip().is_loopback() {
        return Err(Error::NotLoopback(listen));
    }
    if threads == 0 || threads > THREADS_COUNT_MAX {
        return Err(Error::Options("an echo server has 1 to 128 threads"));
    }
    if reply_bytes == 0 || reply_bytes > DATAGRAM_BYTES_MAX {
        return Err(Error::Options("a reply has 1 to 2048 bytes"));
    }
    let first = bind(listen)?;
    let address = first.local_addr().doing("reading the echo server's address")?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(bind(address)?);
    }
    println!("{READY}{address}");
    std::io::stdout().flush().doing("saying that the echo server is ready")?;
    let threads: Vec<_> =
        sockets.into_iter().map(|socket| std::thread::spawn(move || answer(mode, &socket, reply_bytes))).collect();
    for thread in threads {
        thread.join().expect("an echo thread does not panic")?;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> Result<UdpSocket, Error> {
    let socket =
        Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).doing("making a socket")?;
    socket.set_reuse_port(true).doing("sharing the echo server's port")?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&SockAddr::from(address)).doing("binding the echo server")?;
    Ok(socket.into())
}

fn answer(mode: Mode, socket: &UdpSocket, reply_bytes: usize) -> Result<(), Error> {
    match mode {
        Mode::Recvfrom => {
            let mut room = [0; DATAGRAM_BYTES_MAX];
            loop {
                let (_, peer) = socket.recv_from(&mut room).doing("receiving in the echo server")?;
                // A reply that finds no room is lost, as on any UDP server.
                let _ = socket.send_to(&room[..reply_bytes], peer);
            }
        }
        Mode::Mmsg => {
            let mut batch = DatagramBatch::new();
            loop {
                let count = batch.receive_waiting(socket).doing("receiving in the echo server")?;
                for at in 0..count {
                    batch.set_length(at, reply_bytes);
                }
                let _ = batch.send_back(socket, count);
            }
        }
    }
}
