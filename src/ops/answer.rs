//! What a command comes to: an answer, at once or in pieces, or a fault with OpenSIPS's code and text.

use hyper::body::Bytes;
use serde_json::Value;
use std::borrow::Cow;
use std::pin::Pin;
use tokio::sync::mpsc;

/// Pieces of an answer that may wait to be sent.
const PIECES_COUNT_MAX: usize = 2;

/// What a command was answered with.
pub(crate) enum Answer {
    /// All of it.
    Value(Value),
    /// JSON that is written while it is sent.
    Pieces(Writer),
}

/// Writes one JSON value in pieces.
pub(crate) type Writer = Box<dyn FnOnce(Pieces) -> Pin<Box<dyn Future<Output = Result<(), Cut>>>>>;

/// The answer ends before its end: its reader has gone, or what it is made of cannot be had any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

/// Where the pieces of an answer go. Its reader gets [`Cut`] where they end too early.
#[derive(Clone, Debug)]
pub(crate) struct Pieces(mpsc::Sender<Result<Bytes, Cut>>);

/// What takes the pieces.
pub(super) type PiecesReceiver = mpsc::Receiver<Result<Bytes, Cut>>;

impl Pieces {
    pub(super) fn channel() -> (Self, PiecesReceiver) {
        let (sender, receiver) = mpsc::channel(PIECES_COUNT_MAX);
        (Self(sender), receiver)
    }

    /// Gives a piece as soon as there is room for it.
    pub(crate) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Cut> {
        self.0.send(Ok(piece.into())).await.map_err(|_| Cut)
    }

    /// There will be no more, and the answer is not whole.
    pub(super) async fn cut(&self) {
        // A reader that has gone knows already.
        let _ = self.0.send(Err(Cut)).await;
    }
}

impl Answer {
    /// What commands answer that have nothing to tell.
    pub(crate) fn ok() -> Self {
        Self::Value(Value::from("OK"))
    }
}

/// Why a command was not done: the member `error` of JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    pub(crate) message: Cow<'static, str>,
    /// What is wrong in particular, where the message does not say it.
    pub(crate) data: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn with(self, data: impl Into<String>) -> Self {
        Self { data: Some(data.into()), ..self }
    }

    pub(super) fn parse_error() -> Self {
        Self::new(-32700, "Parse error")
    }

    pub(super) fn invalid_request() -> Self {
        Self::new(-32600, "Invalid Request")
    }

    pub(super) fn method_not_found() -> Self {
        Self::new(-32601, "Method not found")
    }

    pub(crate) fn invalid_params(data: impl Into<String>) -> Self {
        Self::new(-32602, "Invalid params").with(data)
    }

    /// A value that is of the right type and cannot be meant.
    pub(crate) fn bad_value(data: impl Into<String>) -> Self {
        Self::new(400, "Bad parameter value").with(data)
    }

    /// What is no fault of who asked.
    pub(crate) fn server(data: impl Into<String>) -> Self {
        Self::new(-32000, "Server error").with(data)
    }
}
