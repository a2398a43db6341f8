//! A binding in the shape in which OpenSIPS's usrloc tells one.
//!
//! Texts that phones have sent are told as UTF-8; what is none becomes U+FFFD, and JSON escapes what does not print.

use serde::Serialize;
use sipfed_proto::settings::Ping;
use sipfed_proto::view::BindingView;
use sipfed_sip::Method;
use std::borrow::Cow;

/// OpenSIPS's bits of methods, by ours.
const METHODS: [(Method<'static>, u32); 14] = [
    (Method::Invite, 1 << 0),
    (Method::Cancel, 1 << 1),
    (Method::Ack, 1 << 2),
    (Method::Bye, 1 << 3),
    (Method::Info, 1 << 4),
    (Method::Options, 1 << 5),
    (Method::Update, 1 << 6),
    (Method::Register, 1 << 7),
    (Method::Message, 1 << 8),
    (Method::Subscribe, 1 << 9),
    (Method::Notify, 1 << 10),
    (Method::Prack, 1 << 11),
    (Method::Refer, 1 << 12),
    (Method::Publish, 1 << 13),
];
/// OpenSIPS's bit of all other methods.
const OTHER: u32 = 1 << 14;
/// Our bit of all other methods.
const OTHER_HERE: u16 = 1 << 15;

/// One contact, without what it does not have.
#[derive(Debug, Serialize)]
pub(super) struct Contact<'a> {
    #[serde(rename = "Contact")]
    uri: Cow<'a, str>,
    #[serde(rename = "ContactID")]
    id: String,
    /// Seconds that are left.
    #[serde(rename = "Expires")]
    expires_s: u32,
    #[serde(rename = "Q")]
    q: String,
    #[serde(rename = "Callid")]
    call_id: Cow<'a, str>,
    #[serde(rename = "Cseq")]
    cseq: u32,
    #[serde(rename = "User-agent", skip_serializing_if = "str::is_empty")]
    user_agent: Cow<'a, str>,
    #[serde(rename = "Received", skip_serializing_if = "Option::is_none")]
    received: Option<String>,
    #[serde(rename = "Path", skip_serializing_if = "str::is_empty")]
    path: Cow<'a, str>,
    #[serde(rename = "State")]
    state: &'static str,
    #[serde(rename = "Flags")]
    flags: u32,
    #[serde(rename = "Cflags")]
    cflags: &'static str,
    #[serde(rename = "Socket")]
    socket: String,
    #[serde(rename = "Methods")]
    methods: u32,
    /// Microseconds.
    #[serde(rename = "Ping-Latency", skip_serializing_if = "Option::is_none")]
    ping_latency_us: Option<u32>,
    /// Pings in a row that the phone has not answered.
    #[serde(rename = "Pings-Lost", skip_serializing_if = "Option::is_none")]
    pings_lost: Option<u8>,
    /// Seconds since it was heard, but for REGISTER requests.
    #[serde(rename = "Heard", skip_serializing_if = "Option::is_none")]
    heard_s: Option<u32>,
    #[serde(rename = "SIP_instance", skip_serializing_if = "str::is_empty")]
    instance: Cow<'a, str>,
}

impl<'a> Contact<'a> {
    /// `is_durable`: whether it is in the log as well.
    pub(super) fn new(binding: &BindingView<'a>, now_s: u32, is_durable: bool) -> Self {
        let transport = binding.transport.uri_token();
        let received = binding.is_natted.then(|| {
            if binding.received_over.is_reliable() {
                format!("sip:{};transport={}", binding.received, binding.received_over.uri_token())
            } else {
                format!("sip:{}", binding.received)
            }
        });
        Self {
            uri: String::from_utf8_lossy(binding.uri),
            id: binding.contact_id.to_string(),
            expires_s: binding.expires_at_s.saturating_sub(now_s),
            q: q_text(binding.q_milli),
            call_id: String::from_utf8_lossy(binding.call_id),
            cseq: binding.cseq,
            user_agent: String::from_utf8_lossy(binding.user_agent),
            received,
            path: String::from_utf8_lossy(binding.path),
            state: if is_durable { "CS_SYNC" } else { "CS_NEW" },
            flags: 0,
            cflags: "",
            socket: format!("{transport}:{}", binding.local),
            methods: to_opensips(binding.methods),
            ping_latency_us: binding.health.latency_ms.map(|ms| u32::from(ms) * 1000),
            pings_lost: (binding.ping != Ping::None).then_some(binding.health.lost),
            heard_s: binding.health.heard_at_s.map(|at_s| now_s.saturating_sub(at_s)),
            instance: String::from_utf8_lossy(binding.instance),
        }
    }
}

/// A preference as RFC 3261 §25.1 writes it, without zeros that say nothing.
fn q_text(q_milli: u16) -> String {
    let text = format!("{}.{:03}", q_milli / 1000, q_milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A preference in thousandths; empty for the highest.
pub(super) fn q_milli(text: &str) -> Option<u16> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() {
        return Some(1000);
    }
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 || fraction.len() > 3 {
        return None;
    }
    let whole: u16 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let q_milli = whole.checked_mul(1000)?.checked_add(format!("{fraction:0<3}").parse().ok()?)?;
    (q_milli <= 1000).then_some(q_milli)
}

fn to_opensips(methods: u16) -> u32 {
    if methods == u16::MAX {
        return u32::MAX;
    }
    let other = if methods & OTHER_HERE == 0 { 0 } else { OTHER };
    METHODS.iter().filter(|(method, _)| methods & method.bit() != 0).fold(other, |set, (_, bit)| set | bit)
}

/// Our set of methods for OpenSIPS's; 0 stands for all of them in both. `None` where none of them has a name.
pub(super) fn from_opensips(methods: u32) -> Option<u16> {
    let all = METHODS.iter().fold(OTHER, |set, (_, bit)| set | bit);
    if methods == 0 || methods & all == all {
        return Some(0);
    }
    let named = METHODS.iter().filter(|(_, bit)| methods & bit != 0).fold(0, |set, (method, _)| set | method.bit());
    Some(named).filter(|named| *named != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_and_written() {
        for (q, text) in [(0, "0"), (1000, "1"), (500, "0.5"), (10, "0.01"), (333, "0.333")] {
            assert_eq!((q_text(q).as_str(), q_milli(text)), (text, Some(q)));
        }
        assert_eq!((q_milli(""), q_milli(".5"), q_milli("1.000")), (Some(1000), Some(500), Some(1000)));
        for wrong in ["2", "1.001", "-1", "0.5x", ".", "0.1234", "99999999", "1e3"] {
            assert_eq!(q_milli(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn methods_are_numbered_as_opensips_does() {
        assert_eq!((to_opensips(u16::MAX), from_opensips(u32::MAX), from_opensips(0)), (u32::MAX, Some(0), Some(0)));
        let some = Method::Invite.bit() | Method::Ack.bit() | Method::Message.bit();
        assert_eq!(to_opensips(some), 1 | 4 | 256);
        assert_eq!((from_opensips(1 | 4 | 256), from_opensips(OTHER)), (Some(some), None));
        assert_eq!(to_opensips(Method::Other(b"X").bit()), 16_384);
    }
}
