//! SIP messages as phones write and read them: just enough of it, and apart from the grammar under test.

use std::fmt::Write as _;

/// The domain of all users.
pub(crate) const DOMAIN: &str = "fed.example";

/// A message that came in a datagram.
#[derive(Clone, Debug)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Its first line.
    pub(crate) fn start(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// What it is, in a line.
    pub(crate) fn title(&self) -> String {
        let name = |name| self.field(name).unwrap_or_default();
        format!("{} ({}, {})", self.start(), name("CSeq"), name("Call-ID"))
    }

    /// The status of a response; `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start().strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request, or the one that a response answers.
    pub(crate) fn method(&self) -> &str {
        if self.status().is_some() {
            self.field("CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default()
        } else {
            self.start().split(' ').next().unwrap_or_default()
        }
    }

    /// The user of a request's Request-URI.
    pub(crate) fn user(&self) -> &str {
        let uri = self.start().split(' ').nth(1).unwrap_or_default();
        uri.strip_prefix("sip:").and_then(|uri| uri.split('@').next()).unwrap_or_default()
    }

    /// The value of the first header field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// The values of all header fields of that name.
    pub(crate) fn fields<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The branch of the topmost Via.
    pub(crate) fn branch(&self) -> &str {
        let via = self.field("Via").unwrap_or_default();
        via.split(";branch=").nth(1).and_then(|rest| rest.split([';', ',']).next()).unwrap_or_default()
    }

    /// The tag of To.
    pub(crate) fn to_tag(&self) -> &str {
        self.field("To").and_then(|to| to.split(";tag=").nth(1)).unwrap_or_default()
    }

    /// The number in CSeq.
    pub(crate) fn cseq(&self) -> u32 {
        self.field("CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).unwrap_or_default()
    }

    /// A response to it.
    pub(crate) fn respond(&self, status: u16, tag: &str, more: &str) -> Vec<u8> {
        let mut out = format!("SIP/2.0 {status} X\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.fields(name) {
                let adds_tag = name == "To" && !tag.is_empty() && !value.contains(";tag=");
                let tag = if adds_tag { format!(";tag={tag}") } else { String::new() };
                let _ = write!(out, "{name}: {value}{tag}\r\n");
            }
        }
        out.push_str(more);
        out.push_str("Content-Length: 0\r\n\r\n");
        out.into_bytes()
    }
}

/// A request. `more` are whole header field lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// As Via names it.
    pub(crate) transport: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    /// What Via names.
    pub(crate) sent_by: &'a str,
    pub(crate) branch: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) to_tag: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) more: &'a str,
}

impl Request<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let Self { transport, method, uri, sent_by, branch, from, to, to_tag, call_id, cseq, more } = self;
        let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};rport;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{from}@{DOMAIN}>;tag=f{from}\r\nTo: <sip:{to}@{DOMAIN}>{to_tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }
}
