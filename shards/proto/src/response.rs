//! A response whose mandatory fields have been read (RFC 3261 §8.1.3, §16.7).

use sipfed_sip::{CSeq, Message, Via};

/// A response, read as far as every response must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'a> {
    pub(crate) message: Message<'a>,
    /// 100 to 699.
    pub(crate) status: u16,
    /// The topmost Via: ours, when it answers a request of ours.
    pub(crate) via: Via<'a>,
    /// Whether there is another Via below it, along which it goes on.
    pub(crate) goes_on: bool,
    pub(crate) cseq: CSeq<'a>,
}

impl<'a> Response<'a> {
    /// Reads what every response must have; `None` when that is missing or broken. A fault that we can do without
    /// reading is still a fault: a broken response is not passed on.
    pub(crate) fn parse(message: Message<'a>) -> Option<Self> {
        let (via, cseq) = (message.top_via().ok()?, message.cseq().ok()?);
        let status = message.status().filter(|_| message.fault().is_none())?;
        let goes_on = message.has_second_via(&via);
        Some(Self { message, status, via, goes_on, cseq })
    }
}
