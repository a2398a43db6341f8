//! From a TCP connection to two nodes that know each other. In: a node to dial, or a connection that was accepted. Out: a
//! connection whose other end has shown who it is, or why there is none. Each takes [`MEETING_MAX`] at most.
//!
//! Who dials says hello first. Who was dialled answers with its own hello only if that is a node that belongs there, else
//! with a refusal; who dialled does likewise, and says by a ping that it is content. So neither takes a link for one before
//! both do.

use super::failure::{Failure, Reason};
use super::frame::{Frame, GREETING_BYTES_MAX, Hello, Splitter};
use super::greeting::{Expected, PeerHello, Refusal, Refused};
use super::links::Links;
use crate::cluster::Node;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsStream;

/// How long it may take until two nodes know each other.
const MEETING_MAX: Duration = Duration::from_secs(10);

/// A connection between two nodes.
pub(super) struct Met {
    /// The row of the table by which the other end was taken for the node.
    pub(super) row: Node,
    pub(super) peer: PeerHello,
    pub(super) stream: TlsStream<TcpStream>,
    /// With what has come already.
    pub(super) splitter: Splitter,
}

/// Opens a connection to a node.
pub(super) async fn dial(links: &Links, node: &Node) -> Result<Met, Failure> {
    within(dialled(links, node)).await
}

/// Makes one of a connection that was accepted.
pub(super) async fn accept(links: &Links, tcp: TcpStream) -> Result<Met, Failure> {
    within(accepted(links, tcp)).await
}

async fn within(met: impl Future<Output = Result<Met, Failure>>) -> Result<Met, Failure> {
    let too_slow = || format!("the other end did not say who it is within {} s", MEETING_MAX.as_secs());
    timeout(MEETING_MAX, met).await.unwrap_or_else(|_| Err(Failure::new(Reason::TimedOut, too_slow())))
}

async fn dialled(links: &Links, node: &Node) -> Result<Met, Failure> {
    let at = node.url.socket_addr();
    let tcp = connect(links.at(), at)
        .await
        .map_err(|error| Failure::new(Reason::Unreachable, format!("nobody answers at {at}: {error}")))?;
    let mut stream = links.security().dial(tcp, at.ip()).await?;
    let mut splitter = Splitter::default();
    say(&mut stream, &Frame::Hello(links.hello())).await?;
    let hello = hear_hello(&mut stream, &mut splitter).await?;
    let peer = match links.check(&hello, Expected::Dialled(node.id)) {
        Ok((peer, _)) => peer,
        Err(refused) => return Err(refuse(&mut stream, refused).await),
    };
    // No ping of the link itself has the number 0, so that nobody waits for its answer.
    say(&mut stream, &Frame::Ping { number: 0, neighbours: Vec::new() }).await?;
    Ok(Met { row: node.clone(), peer, stream, splitter })
}

async fn accepted(links: &Links, tcp: TcpStream) -> Result<Met, Failure> {
    tcp.set_nodelay(true).map_err(|error| Failure::of_io(&error))?;
    let security = links.security();
    let mut stream = security.accept(tcp).await?;
    let mut splitter = Splitter::default();
    let hello = hear_hello(&mut stream, &mut splitter).await?;
    let checked = links.check(&hello, Expected::Anybody).and_then(|(peer, row)| {
        let ip = row.url.socket_addr().ip();
        security.check_node(&stream, ip).map(|()| (peer, row)).map_err(|error| Refused {
            refusal: Refusal::OtherCertificate,
            why: format!(
                "whoever says that it is node {} shows a certificate of another address than {ip}, which is that in its url \
                 ({error}): have one issued with this address as a subject alternative name, or correct the url",
                hello.node_id
            ),
        })
    });
    let (peer, row) = match checked {
        Ok(checked) => checked,
        Err(refused) => return Err(refuse(&mut stream, refused).await),
    };
    say(&mut stream, &Frame::Hello(links.hello())).await?;
    while !splitter.is_ping_next() {
        if let Some(other) = splitter.next(GREETING_BYTES_MAX)? {
            return Err(unexpected(&other));
        }
        hear(&mut stream, &mut splitter).await?;
    }
    Ok(Met { row, peer, stream, splitter })
}

/// A connection from our address, so that the other end knows where it comes from.
async fn connect(own: SocketAddr, at: SocketAddr) -> io::Result<TcpStream> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if own.is_ipv4() == at.is_ipv4() {
        socket.bind(SocketAddr::new(own.ip(), 0))?;
    }
    let tcp = socket.connect(at).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn say(stream: &mut TlsStream<TcpStream>, frame: &Frame<'_>) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    let said = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    said.await.map_err(|error| Failure::of_io(&error))
}

/// Reads once.
async fn hear(stream: &mut TlsStream<TcpStream>, splitter: &mut Splitter) -> Result<(), Failure> {
    match stream.read_buf(splitter.room()).await {
        Ok(0) => Err(Failure::new(Reason::Closed, "the other end hung up")),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::of_io(&error)),
    }
}

async fn hear_hello(stream: &mut TlsStream<TcpStream>, splitter: &mut Splitter) -> Result<Hello, Failure> {
    loop {
        match splitter.next(GREETING_BYTES_MAX) {
            Ok(Some(Frame::Hello(hello))) => return Ok(hello),
            Ok(Some(other)) => return Err(unexpected(&other)),
            Ok(None) => hear(stream, splitter).await?,
            Err(fault) => {
                let failure = Failure::from(fault);
                // It may have gone already, and is told so in any case.
                let _ = say(stream, &Frame::Close { why: &failure.why }).await;
                return Err(failure);
            }
        }
    }
}

/// What was said in place of what belongs there.
fn unexpected(frame: &Frame<'_>) -> Failure {
    match frame {
        Frame::Refuse { why, .. } => Failure::new(Reason::RefusedByPeer, format!("the other end says: {why}")),
        Frame::Close { why } => Failure::new(Reason::Closed, format!("the other end says: {why}")),
        _ => Failure::new(Reason::Garbled, "the other end did not say who it is before anything else"),
    }
}

/// Tells the other end why it is refused.
async fn refuse(stream: &mut TlsStream<TcpStream>, Refused { refusal, why }: Refused) -> Failure {
    if say(stream, &Frame::Refuse { code: refusal as u8, why: &why }).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    Failure::new(Reason::Refused, why)
}
