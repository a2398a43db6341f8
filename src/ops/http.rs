//! The interface over HTTP: `POST /mi`, as OpenSIPS's mi_http takes it.
//!
//! In: requests whose body is a text of JSON-RPC. Out: 200 with its answer, also where that is an error of JSON-RPC; 204
//! where nothing is to be answered; another status where no text was taken. A request with the field Origin is refused: it
//! comes from a page in somebody's browser, which has no business here.
//!
//! A long answer is sent in chunks while it is made. One that ends too early ends without the last chunk, so that nobody
//! takes it for whole.

use super::answer::{Cut, Pieces, PiecesReceiver};
use super::dispatch;
use super::impatient::Impatient;
use super::registry::Registry;
use super::{CONNECTIONS_COUNT_MAX, LAST_WORDS_MAX, SILENCE_MAX, TEXT_BYTES_MAX};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

/// The path of OpenSIPS's mi_http.
const PATH: &str = "/mi";
/// The wait after a connection could not be accepted: descriptors may have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the node stops.
pub(super) async fn serve(listener: TcpListener, registry: Rc<Registry>, mut stopping: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error!(reason = error.to_string(), "the management interface does not listen"),
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS_COUNT_MAX));
    let mut is_told = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            tokio::task::spawn_local(connection(stream, Rc::clone(&registry), permit, stopping.clone()));
        } else if !std::mem::replace(&mut is_told, true) {
            warn!(
                connections = CONNECTIONS_COUNT_MAX,
                "the management interface closes connections: too many are open"
            );
        }
    }
    drop(listener);
    // What is being answered may end; whoever holds a connection longer is cut with the thread.
    let _ = timeout(LAST_WORDS_MAX, room.acquire_many(CONNECTIONS_COUNT_MAX as u32)).await;
}

async fn connection(
    stream: TcpStream,
    registry: Rc<Registry>,
    _permit: OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) {
    let io = TokioIo::new(Impatient::new(stream, SILENCE_MAX));
    let service = service_fn(move |request| {
        let registry = Rc::clone(&registry);
        async move { Ok::<_, Infallible>(respond(request, registry).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .max_buf_size(TEXT_BYTES_MAX)
        .serve_connection(io, service);
    let mut served = pin!(served);
    // How a connection ends is its peer's affair.
    tokio::select! {
        _ = served.as_mut() => return,
        _ = stopping.wait_for(|is_stopping| *is_stopping) => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

async fn respond(request: Request<Incoming>, registry: Rc<Registry>) -> Response<Text> {
    if request.uri().path().trim_end_matches('/') != PATH {
        return refusal(StatusCode::NOT_FOUND, "commands are taken at /mi\n");
    }
    if request.method() != Method::POST {
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "commands are taken by POST\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if request.headers().contains_key(ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "commands are not taken from pages in a browser\n");
    }
    let body = match timeout(SILENCE_MAX, Limited::new(request.into_body(), TEXT_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "a text has at most 64 KiB\n");
        }
        Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "the body has no end\n"),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
    };
    let (out, mut pieces) = Pieces::channel();
    tokio::task::spawn_local(dispatch::answer(registry, body, out));
    let (first, second) = match pieces.recv().await {
        None => return status(StatusCode::NO_CONTENT, Text::Whole(None)),
        Some(first) => (first, pieces.recv().await),
    };
    let text = match (first, second) {
        (Ok(whole), None) => Text::Whole(Some(whole)),
        (first, second) => Text::Growing { known: [Some(first), second], pieces },
    };
    let mut response = status(StatusCode::OK, text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode, text: Text) -> Response<Text> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
}

fn refusal(code: StatusCode, what: &'static str) -> Response<Text> {
    let mut response = status(code, Text::Whole(Some(Bytes::from_static(what.as_bytes()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The body of a response.
enum Text {
    Whole(Option<Bytes>),
    Growing { known: [Option<Result<Bytes, Cut>>; 2], pieces: PiecesReceiver },
}

impl Body for Text {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut *self {
            Self::Whole(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Growing { known, pieces } => match known.iter_mut().find_map(Option::take) {
                Some(piece) => Some(piece),
                None => std::task::ready!(pieces.poll_recv(cx)),
            },
        };
        let cut = |Cut| io::Error::other("the answer ends too early");
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(cut)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Growing { .. } => SizeHint::default(),
        }
    }
}
