//! HTTP by hand, so that a test may also do what no client would.

use crate::daemon::{Daemon, PATIENCE};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// The address in `http://ADDRESS/mi`.
pub(crate) fn address(node: &Daemon) -> &str {
    let url = node.management.split(' ').next().unwrap();
    url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/mi")).unwrap()
}

pub(crate) fn connect(node: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(address(node)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A response that is being read.
pub(crate) struct Response {
    pub(crate) status: u16,
    length: Option<usize>,
    stream: BufReader<TcpStream>,
}

impl Response {
    /// Reads its head; `None` where the connection ended before.
    pub(crate) fn of(stream: TcpStream) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let (mut status, mut length) = (0, None);
        for index in 0.. {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if index == 0 {
                status = line.split(' ').nth(1)?.parse().ok()?;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().ok()?);
            }
            if line.is_empty() {
                break;
            }
        }
        Some(Self { status, length, stream })
    }

    /// The next piece of the body; `None` at its end, which a chunked one says.
    pub(crate) fn piece(&mut self) -> Option<Vec<u8>> {
        let length = match self.length.take() {
            Some(length) => length,
            None if self.status == 204 => return None,
            None => {
                let mut line = String::new();
                self.stream.read_line(&mut line).unwrap();
                if line.is_empty() {
                    // What had a length has been read.
                    return None;
                }
                usize::from_str_radix(line.trim_end(), 16).unwrap()
            }
        };
        let mut piece = vec![0; length];
        self.stream.read_exact(&mut piece).unwrap();
        Some(piece).filter(|piece| !piece.is_empty())
    }

    /// All of the body.
    pub(crate) fn body(mut self) -> Vec<u8> {
        let is_chunked = self.length.is_none();
        let mut body = Vec::new();
        while let Some(piece) = self.piece() {
            body.extend(piece);
            if !is_chunked {
                break;
            }
            let mut end = [0; 2];
            self.stream.read_exact(&mut end).unwrap();
        }
        body
    }

    /// Passes over the line end behind a chunk.
    pub(crate) fn end_of_chunk(&mut self) {
        self.stream.read_exact(&mut [0; 2]).unwrap();
    }
}

/// Sends a text; gives the response.
pub(crate) fn post(node: &Daemon, text: &[u8]) -> Response {
    let mut stream = connect(node);
    let head = format!("POST /mi HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(&[head.as_bytes(), text].concat()).unwrap();
    Response::of(stream).unwrap()
}

/// The answer to a text, which is JSON.
pub(crate) fn answer(node: &Daemon, text: &[u8]) -> Value {
    let response = post(node, text);
    assert_eq!(response.status, 200);
    serde_json::from_slice(&response.body()).unwrap()
}

/// The result of a command.
pub(crate) fn call(node: &Daemon, method: &str, params: &Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": "1", "method": method, "params": params });
    let mut answer = answer(node, call.to_string().as_bytes());
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("1")), "{answer}");
    assert!(answer.get("result").is_some(), "{answer}");
    answer["result"].take()
}

/// The error that a command ends with: code and message.
pub(crate) fn error(node: &Daemon, method: &str, params: &Value) -> (i64, String) {
    let call = json!({ "jsonrpc": "2.0", "id": "1", "method": method, "params": params });
    let answer = answer(node, call.to_string().as_bytes());
    let error = &answer["error"];
    (error["code"].as_i64().unwrap_or_else(|| panic!("{answer}")), error["message"].as_str().unwrap().to_owned())
}
