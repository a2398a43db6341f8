//! What the hot path reads of an answer: its status and the request it belongs to.

use crate::branch::Branch;

/// A response, as far as the generator's tables go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// RFC 3261 §21; an echoed request counts as 200.
    pub(crate) status: u16,
    /// The request.
    pub(crate) branch: Branch,
}

/// What kind of server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// A SIP server: status lines.
    Sip,
    /// A yardstick: the beginning of the request itself.
    Echo,
}

impl Answers {
    /// Reads `message`; `None` where it is nothing that such a server answers.
    pub(crate) fn read(self, message: &[u8]) -> Option<Answer> {
        let status = match self {
            Self::Sip => status(message)?,
            Self::Echo => message.starts_with(b"REGISTER ").then_some(200)?,
        };
        Some(Answer { status, branch: Branch::find(message)? })
    }
}

/// The status code of a response (RFC 3261 §7.2).
pub(crate) fn status(message: &[u8]) -> Option<u16> {
    let digits: [u8; 3] = message.strip_prefix(b"SIP/2.0 ")?.get(..3)?.try_into().ok()?;
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_an_echo() {
        let branch = Branch { phase: 3, number: 5 };
        let rest = format!("\r\nVia: x;branch={}\r\n", String::from_utf8(branch.to_bytes().to_vec()).unwrap());
        let response = format!("SIP/2.0 423 Interval Too Brief{rest}");
        let echo = format!("REGISTER sip:127.0.0.1 SIP/2.0{rest}");
        assert_eq!(Answers::Sip.read(response.as_bytes()), Some(Answer { status: 423, branch }));
        assert_eq!(Answers::Echo.read(echo.as_bytes()), Some(Answer { status: 200, branch }));
        assert_eq!(Answers::Sip.read(echo.as_bytes()), None);
        assert_eq!(Answers::Echo.read(response.as_bytes()), None);
        assert_eq!(Answers::Sip.read(b"SIP/2.0 2x0 OK"), None);
    }
}
