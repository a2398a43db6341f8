//! One call of the management interface, over HTTP or a named pipe.
//!
//! Bounds: [`CONNECT_MAX`] to reach the node, [`SILENCE_MAX`] between two pieces of an answer, [`ANSWER_BYTES_MAX`].

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use serde_json::{Value, json};
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than a node waits for its shards.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// What a pipe takes as one piece, with others writing to it.
const PIPE_BYTES_MAX: usize = 4096;
/// Whoever runs the node writes to the pipe of the answer.
const REPLY_MODE: u32 = 0o622;

/// Where a node is.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Http { host: String, port: u16, path: String },
    Fifo { path: PathBuf, replies: PathBuf },
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nobody is there.
    Away(String),
    /// Somebody is there, and has not answered as a node does.
    Silent(String),
    /// The node has answered with an error.
    Fault { code: i64, message: String, data: Option<String> },
}

impl Client {
    /// The node whose interface listens there.
    pub(super) fn of_listener(listen: SocketAddr) -> Self {
        // Who listens at every address listens at that of this host.
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self::Http { host, port: listen.port(), path: "/mi".to_owned() }
    }

    pub(super) fn of_url(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "no URL")?;
        if uri.scheme_str() != Some("http") {
            return Err("only http:// is spoken");
        }
        let host = uri.host().ok_or("the address is missing")?.to_owned();
        let path = match uri.path() {
            "" | "/" => "/mi",
            path => path,
        };
        Ok(Self::Http { host, port: uri.port_u16().unwrap_or(80), path: path.to_owned() })
    }

    /// Whether the node is a process of this host.
    pub(super) fn is_here(&self) -> bool {
        match self {
            Self::Fifo { .. } => true,
            Self::Http { host, .. } => {
                let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
                host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// The result of a command.
    pub(super) fn call(&self, method: &str, parameters: &Value) -> Result<Value, CallError> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters }).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CallError::Away(error.to_string()))?;
        let answer = runtime.block_on(async {
            match self {
                Self::Http { host, port, path } => http(host, *port, path, call).await,
                Self::Fifo { path, replies } => fifo(path, replies, &call).await,
            }
        })?;
        result(&answer)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port, path } => write!(f, "http://{host}:{port}{path}"),
            Self::Fifo { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

async fn http(host: &str, port: u16, path: &str, call: String) -> Result<Vec<u8>, CallError> {
    let away = |error: &dyn fmt::Display| CallError::Away(error.to_string());
    let silent = |error: &dyn fmt::Display| CallError::Silent(error.to_string());
    let name = host.trim_matches(['[', ']']);
    let stream = timeout(CONNECT_MAX, TcpStream::connect((name, port))).await;
    let stream = stream.map_err(|_| away(&"it cannot be reached in time"))?.map_err(|error| away(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(&error))?;
    // Its errors are those of the answer.
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, format!("{host}:{port}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(call)))
        .map_err(|error| silent(&error))?;
    let response = timeout(SILENCE_MAX, sender.send_request(request)).await;
    let response = response.map_err(|_| silent(&"it says nothing"))?.map_err(|error| silent(&error))?;
    let status = response.status();
    let mut body = response.into_body();
    let mut answer = Vec::new();
    while let Some(frame) = timeout(SILENCE_MAX, body.frame()).await.map_err(|_| silent(&"it has stopped half-way"))? {
        if let Some(data) = frame.map_err(|error| silent(&error))?.data_ref() {
            answer.extend_from_slice(data);
        }
        check_length(&answer)?;
    }
    driver.abort();
    if status != StatusCode::OK {
        return Err(silent(&format!("{status}: {}", String::from_utf8_lossy(&answer).trim())));
    }
    Ok(answer)
}

fn check_length(answer: &[u8]) -> Result<(), CallError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(CallError::Silent(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The pipe of an answer; removed when it is dropped.
struct ReplyPipe {
    path: PathBuf,
    name: String,
    receiver: pipe::Receiver,
}

impl ReplyPipe {
    fn make(replies: &Path) -> io::Result<Self> {
        let name = format!("sipfed_ctl_{}", std::process::id());
        let path = replies.join(&name);
        if fs::symlink_metadata(&path).is_ok() {
            // Left behind by a process of that number.
            fs::remove_file(&path)?;
        }
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(REPLY_MODE), 0)?;
        // Also open for writing, so that it has no end before the node has opened it.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open(&path, flags, Mode::empty()).map_err(io::Error::from).and_then(|file| {
            let file = File::from(file);
            file.set_permissions(Permissions::from_mode(REPLY_MODE))?;
            pipe::Receiver::from_file(file)
        });
        match opened {
            Ok(receiver) => Ok(Self { path, name, receiver }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Drop for ReplyPipe {
    fn drop(&mut self) {
        // One that stays is removed by the next process of that number.
        let _ = fs::remove_file(&self.path);
    }
}

async fn fifo(path: &Path, replies: &Path, call: &str) -> Result<Vec<u8>, CallError> {
    let away = |error: io::Error| CallError::Away(error.to_string());
    let mut reply = ReplyPipe::make(replies)
        .map_err(|error| CallError::Away(format!("no pipe can be made in {}: {error}", replies.display())))?;
    let command = format!(":{}:{call}\n", reply.name);
    if command.len() > PIPE_BYTES_MAX {
        return Err(CallError::Away("the command is too long for a pipe; send it over HTTP".to_owned()));
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let node = open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NXIO => CallError::Away("nobody reads that pipe".to_owned()),
        error => away(error.into()),
    })?;
    File::from(node).write_all(command.as_bytes()).map_err(away)?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let read = timeout(SILENCE_MAX, reply.receiver.read_buf(&mut answer)).await;
        let read = read.map_err(|_| CallError::Silent("it says nothing".to_owned()))?;
        read.map_err(|error| CallError::Silent(error.to_string()))?;
        check_length(&answer)?;
    }
    Ok(answer)
}

/// What an answer says.
fn result(answer: &[u8]) -> Result<Value, CallError> {
    let mut answer: Value = serde_json::from_slice(answer)
        .map_err(|error| CallError::Silent(format!("it does not answer in JSON: {error}")))?;
    if let Some(error) = answer.get("error") {
        return Err(CallError::Fault {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            data: error["data"].as_str().map(str::to_owned),
        });
    }
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(CallError::Silent("its answer has no result".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_node() {
        let text = |url| Client::of_url(url).map(|client| client.to_string());
        assert_eq!(text("http://127.0.0.1:8888/mi").unwrap(), "http://127.0.0.1:8888/mi");
        assert_eq!(text("http://[::1]:8888").unwrap(), "http://[::1]:8888/mi");
        assert_eq!(text("http://localhost/x").unwrap(), "http://localhost:80/x");
        for wrong in ["127.0.0.1:8888", "https://127.0.0.1:8888/mi", "http://", "nonsense"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        let listener = |addr: &str| Client::of_listener(addr.parse().unwrap());
        assert_eq!(listener("0.0.0.0:8888").to_string(), "http://127.0.0.1:8888/mi");
        assert!(listener("[::]:1").is_here() && !listener("192.0.2.1:1").is_here());
    }

    #[test]
    fn an_answer_is_a_result_or_an_error() {
        assert_eq!(result(br#"{"jsonrpc":"2.0","result":"OK","id":1}"#).unwrap(), "OK");
        let fault = result(br#"{"error":{"code":404,"message":"AOR not found","data":"x"},"id":1}"#).unwrap_err();
        assert!(matches!(fault, CallError::Fault { code: 404, data: Some(_), .. }), "{fault:?}");
        for wrong in ["", "7", "{}", "<html>"] {
            assert!(matches!(result(wrong.as_bytes()), Err(CallError::Silent(_))), "{wrong}");
        }
    }
}
