use super::*;
use proptest::prelude::*;

/// What a browser sends (RFC 7118 §4.1).
pub(crate) const REQUEST: &str = "GET /phone?a=b HTTP/1.1\r\nHost: sip.example.com\r\nConnection: keep-alive, Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://www.example.com\r\n\
     Sec-WebSocket-Protocol: chat, sip\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

fn push_all<'a>(pieces: impl Iterator<Item = &'a [u8]>, origins: &[String]) -> Option<Result<String, Refusal>> {
    let mut upgrade = Upgrade::default();
    for piece in pieces {
        let judged = upgrade.push(piece, origins);
        if judged.is_some() {
            return judged;
        }
        assert!(upgrade.held.len() < REQUEST_BYTES_MAX);
    }
    None
}

fn judged(request: &str) -> Option<Result<String, Refusal>> {
    push_all(std::iter::once(request.as_bytes()), &[])
}

#[track_caller]
fn refusal(request: &str) -> Refusal {
    judged(request).expect("it should be judged").expect_err("it should be refused")
}

/// Without the field, and with another value of it.
fn altered(name: &str, value: Option<&str>) -> String {
    let (before, line) = REQUEST.split_at(REQUEST.find(&format!("{name}: ")).unwrap());
    let (_, behind) = line.split_once("\r\n").unwrap();
    value.map_or_else(|| format!("{before}{behind}"), |value| format!("{before}{name}: {value}\r\n{behind}"))
}

#[test]
fn rfc6455_1_3_a_request_is_accepted_with_what_its_key_makes_wherever_it_is_cut() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
    assert_eq!(judged(REQUEST), Some(Ok(answer.to_owned())));
    let bytes = REQUEST.as_bytes();
    for cut in 0..bytes.len() {
        assert_eq!(push_all(std::iter::once(&bytes[..cut]), &[]), None, "{cut}");
        assert_eq!(push_all([&bytes[..cut], &bytes[cut..]].into_iter(), &[]), Some(Ok(answer.to_owned())), "{cut}");
    }
    assert_eq!(push_all(bytes.chunks(1), &[]), Some(Ok(answer.to_owned())));
}

#[test]
fn lists_and_names_are_read_in_any_spelling() {
    for request in [
        altered("Upgrade", Some("h2c ,\tWebSocket")),
        altered("Connection", Some("UPGRADE")),
        altered("Sec-WebSocket-Protocol", Some("sip")),
        altered("Sec-WebSocket-Protocol", Some("chat\r\nsec-websocket-protocol:sip")),
        altered("Origin", None),
        REQUEST.replace("Host:", "hOST:"),
        REQUEST.replace("/phone?a=b", "*"),
    ] {
        assert!(judged(&request).unwrap().is_ok(), "{request}");
    }
}

#[test]
fn rfc7118_4_1_the_subprotocol_has_to_be_offered() {
    for value in [None, Some("chat"), Some("sips"), Some("SIP"), Some(""), Some("sip chat")] {
        assert_eq!(refusal(&altered("Sec-WebSocket-Protocol", value)), Refusal::NoSubprotocol, "{value:?}");
    }
    assert!(Refusal::NoSubprotocol.answer().starts_with("HTTP/1.1 400 "));
}

#[test]
fn rfc6455_4_4_another_version_is_told_which_one_is_spoken() {
    for request in [
        altered("Sec-WebSocket-Version", None),
        altered("Sec-WebSocket-Version", Some("8")),
        altered("Sec-WebSocket-Version", Some("13, 8")),
        altered("Sec-WebSocket-Version", Some("13\r\nSec-WebSocket-Version: 13")),
        altered("Upgrade", None),
        altered("Upgrade", Some("h2c")),
        altered("Connection", None),
        altered("Connection", Some("keep-alive")),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ] {
        assert_eq!(refusal(&request), Refusal::NoUpgrade, "{request}");
    }
    let answer = Refusal::NoUpgrade.answer();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
    assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "RFC 9110 §15.5.22: {answer}");
}

#[test]
fn what_is_no_request_for_a_websocket_is_malformed() {
    let key = |value| altered("Sec-WebSocket-Key", value);
    for request in [
        REQUEST.replace("GET", "POST"),
        REQUEST.replace("HTTP/1.1", "HTTP/1.0"),
        REQUEST.replace("HTTP/1.1", "HTTP/2"),
        REQUEST.replace("Host: sip.example.com", "Host sip.example.com"),
        altered("Host", None),
        altered("Host", Some("a\r\nHost: b")),
        key(None),
        key(Some("dGhlIHNhbXBsZSBub25jZQ")),
        key(Some("dGhlIHNhbXBsZSBub25j")),
        key(Some("dGhlIHNhbXBsZSBub25jZSBsb25nZXI=")),
        key(Some("not in Base64 at all!!!!")),
        key(Some("dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
        format!("{REQUEST}x"),
        "OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_owned(),
        "\r\n\r\n".to_owned(),
    ] {
        assert!(matches!(refusal(&request), Refusal::Malformed(_)), "{request}");
    }
    // As early as it is seen, such as at the first byte of TLS.
    assert!(matches!(refusal("\x16"), Refusal::Malformed(_)));
}

#[test]
fn a_request_without_end_is_too_long() {
    let filled = |len: usize| {
        let more = format!("Cookie: {}\r\n\r\n", "x".repeat(len - (REQUEST.len() - 2) - "Cookie: \r\n\r\n".len()));
        let request = REQUEST[..REQUEST.len() - 2].to_owned() + &more;
        assert_eq!(request.len(), len);
        request
    };
    assert!(judged(&filled(REQUEST_BYTES_MAX)).unwrap().is_ok());
    let too_long = filled(REQUEST_BYTES_MAX + 1);
    for len in [1, 100, 8192, too_long.len()] {
        assert_eq!(push_all(too_long.as_bytes().chunks(len), &[]), Some(Err(Refusal::TooLong)), "{len}");
    }
    let many = REQUEST[..REQUEST.len() - 2].to_owned() + &"a: b\r\n".repeat(FIELDS_COUNT_MAX) + "\r\n";
    assert_eq!(refusal(&many), Refusal::TooLong);
    assert!(Refusal::TooLong.answer().starts_with("HTTP/1.1 431 "));
}

#[test]
fn rfc6455_10_2_pages_of_other_origins_are_kept_out_where_origins_are_named() {
    let origins = ["https://phone.example.com".to_owned(), "null".to_owned()];
    let judged = |value| push_all(std::iter::once(altered("Origin", value).as_bytes()), &origins).unwrap();
    assert!(judged(Some("https://phone.example.com")).is_ok());
    assert!(judged(Some("HTTPS://Phone.Example.com")).is_ok());
    assert!(judged(Some("null")).is_ok());
    assert!(judged(None).is_ok(), "who sends none is no browser");
    for value in ["https://phone.example.com:8443", "http://phone.example.com", "https://phone.example.com.evil", ""] {
        assert_eq!(judged(Some(value)), Err(Refusal::Origin), "{value}");
    }
    let twice = "https://phone.example.com\r\nOrigin: https://evil.example";
    assert!(matches!(judged(Some(twice)), Err(Refusal::Malformed(_))));
    assert!(Refusal::Origin.answer().starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_refusal_says_how_long_its_reason_is() {
    for refusal in [
        Refusal::Malformed("something else"),
        Refusal::TooLong,
        Refusal::NoUpgrade,
        Refusal::NoSubprotocol,
        Refusal::Origin,
    ] {
        let answer = refusal.answer();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_judged_alike_however_it_is_cut(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        len in 1_usize..200,
    ) {
        let mut bytes = REQUEST.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = push_all(std::iter::once(&bytes[..]), &[]);
        let cut = push_all(bytes.chunks(len), &[]);
        // What is seen to be wrong before its end has come need not be wrong in the same way.
        prop_assert_eq!(whole.as_ref().map(Result::is_ok), cut.as_ref().map(Result::is_ok));
    }
}
