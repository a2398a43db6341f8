use super::*;
use proptest::prelude::*;

const BYTES_MAX: usize = 600;

/// What a framing finds, in a form that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Message(Vec<u8>),
    HeadOnly(Vec<u8>),
    Ping,
}

fn push(framing: &mut Framing, piece: &[u8], all: &mut Vec<Found>) -> Result<(), Broken> {
    framing.push(piece, BYTES_MAX, |frame| {
        all.push(match frame {
            Frame::Message(bytes) => Found::Message(bytes.to_vec()),
            Frame::HeadOnly(bytes) => Found::HeadOnly(bytes.to_vec()),
            Frame::Ping => Found::Ping,
        });
    })
}

fn whole(stream: &[u8]) -> (Vec<Found>, Result<(), Broken>) {
    let (mut framing, mut all) = (Framing::new(), Vec::new());
    let end = push(&mut framing, stream, &mut all);
    (all, end)
}

/// The same stream one byte at a time.
fn bytewise(stream: &[u8]) -> (Vec<Found>, Result<(), Broken>) {
    let (mut framing, mut all) = (Framing::new(), Vec::new());
    let end = stream.iter().try_for_each(|byte| push(&mut framing, &[*byte], &mut all));
    (all, end)
}

/// Asserts what a stream is found to hold, in one piece and byte by byte.
#[track_caller]
fn assert_found(stream: &[u8], all: &[Found], end: Result<(), Broken>) {
    assert_eq!(whole(stream), (all.to_vec(), end));
    assert_eq!(bytewise(stream), (all.to_vec(), end), "byte by byte");
}

fn message(length_field: &str, body: &str) -> Vec<u8> {
    format!("OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n{length_field}\r\nTo: y\r\n\r\n{body}").into_bytes()
}

#[test]
fn rfc3261_18_3_a_message_ends_behind_its_content_length() {
    let stream = message("Content-Length: 5", "hello");
    assert_found(&stream, &[Found::Message(stream.clone())], Ok(()));
    let (_, end) = whole(&stream[..stream.len() - 1]);
    assert_eq!((whole(&stream[..stream.len() - 1]).0, end), (vec![], Ok(())));
}

#[test]
fn many_messages_in_one_piece_come_out_one_by_one() {
    let (a, b, c) = (message("l: 3", "one"), message("L:0", ""), message("CONTENT-LENGTH :  4 ", "four"));
    let stream = [a.as_slice(), &b, b"\r\n", &c].concat();
    assert_found(&stream, &[Found::Message(a), Found::Message(b), Found::Message(c)], Ok(()));
}

#[test]
fn rfc3261_7_3_1_a_folded_content_length_is_read() {
    for field in ["Content-Length:\r\n 2", "Content-Length: \r\n\t2\r\n  ", "l: 2\r\n ", "l:\r\n \r\n 2"] {
        let stream = message(field, "ok");
        assert_found(&stream, &[Found::Message(stream.clone())], Ok(()));
    }
}

#[test]
fn rfc5626_3_5_1_a_double_crlf_is_a_ping_and_a_single_one_is_nothing() {
    let stream = message("l: 0", "");
    let all = [Found::Ping, Found::Message(stream.clone()), Found::Ping, Found::Ping];
    assert_found(&[b"\r\n\r\n", stream.as_slice(), b"\r\n\r\n\r\n\r\n\r\n"].concat(), &all, Ok(()));
    assert_found(&[b"\r\n", stream.as_slice()].concat(), &[Found::Message(stream.clone())], Ok(()));
    assert_found(b"\n\n\r\r\n\r\n", &[Found::Ping], Ok(()));
}

#[test]
fn a_message_without_a_usable_length_is_told_by_its_header_section() {
    for field in [
        "Subject: none",
        "Content-Length:",
        "Content-Length: \r\n ",
        "Content-Length: five",
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 1 1",
        "Content-Length: 1,1",
        "Content-Length: 0x10",
        "Content-Length: 1\r\n 1",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 4\r\nl: 5",
        "Content-Length: 4\r\nContent-Length: x",
    ] {
        let head = message(field, "");
        let stream = message(field, "body and more");
        assert_found(&stream, &[Found::HeadOnly(head)], Err(Broken::NoLength));
    }
}

#[test]
fn a_stream_that_cannot_be_read_on_ends_the_same_way_wherever_it_is_cut() {
    let next = message("l: 0", "");
    let endless = [b"X: ".as_slice(), &[b'x'; BYTES_MAX]].concat();
    let broken = ["X: y", "l: many", "l: -1", "l: 1\r\nl: 2", "l: 99999999999999999999999", "l: 601", "l: 4294967296"]
        .map(|field| message(field, ""));
    for first in broken.iter().chain([&endless]) {
        let stream = [first.as_slice(), &next].concat();
        let expected = whole(&stream);
        assert!(expected.1.is_err() && expected.0.len() == usize::from(expected.1 == Err(Broken::NoLength)));
        // Pieces of a few bytes up to half of the stream, the first one of any size.
        for (first_cut, step) in (0..stream.len()).flat_map(|cut| [1, 7, 64, 300].map(|step| (cut, step))) {
            let (mut framing, mut all) = (Framing::new(), Vec::new());
            let (head, tail) = stream.split_at(first_cut);
            let end = [head].into_iter().chain(tail.chunks(step)).try_for_each(|p| push(&mut framing, p, &mut all));
            assert_eq!((all, end), expected, "cut at {first_cut}, then each {step} bytes");
        }
    }
}

#[test]
fn equal_lengths_given_twice_are_no_conflict() {
    let stream = message("Content-Length: 4\r\nl: 004", "body");
    assert_found(&stream, &[Found::Message(stream.clone())], Ok(()));
}

#[test]
fn a_name_that_only_resembles_content_length_is_none() {
    let stream = message("X-Content-Length: 9\r\nContent-Length-X: 9\r\nl: 2\r\nll: 9", "ok");
    assert_found(&stream, &[Found::Message(stream.clone())], Ok(()));
}

#[test]
fn a_message_may_be_as_long_as_allowed_and_no_longer() {
    let head_len = message("l: 000", "").len();
    let body = "b".repeat(BYTES_MAX - head_len);
    let stream = message(&format!("l: {}", body.len()), &body);
    assert_eq!(stream.len(), BYTES_MAX);
    assert_found(&stream, &[Found::Message(stream.clone())], Ok(()));

    let longer = message(&format!("l: {}", body.len() + 1), &body);
    assert_found(&longer, &[], Err(Broken::TooLong));
    let huge = message("l: 18446744073709551615", "");
    assert_found(&huge, &[], Err(Broken::TooLong));
}

#[test]
fn a_header_section_that_never_ends_is_cut_off() {
    let (mut framing, mut all) = (Framing::new(), Vec::new());
    let mut pushed = 0;
    while push(&mut framing, b"X-More: and more\r\n", &mut all).is_ok() {
        pushed += 18;
        assert!(pushed <= BYTES_MAX + 18 && framing.partial.len() <= BYTES_MAX + 18);
    }
    assert!(all.is_empty());
    assert_found(&vec![b'x'; BYTES_MAX + 1], &[], Err(Broken::TooLong));
}

#[test]
fn a_stream_at_rest_holds_no_memory() {
    let mut framing = Framing::new();
    for byte in message("l: 2", "ok") {
        push(&mut framing, &[byte], &mut Vec::new()).unwrap();
    }
    assert!(!framing.is_within_message());
    assert_eq!(framing.partial.capacity(), 0);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        5 => Just("Content-Length: {}"),
        3 => Just("l:{}"),
        2 => Just("CONTENT-LENGTH :\r\n\t{} "),
    ];
    let message = (field, "[a-z\r\n:]{0,80}", "[ -~]{0,40}").prop_map(|(field, body, more)| {
        message(&format!("X: {more}\r\n{}", field.replace("{}", &body.len().to_string())), &body)
    });
    prop_oneof![8 => message, 1 => Just(b"\r\n".to_vec()), 1 => Just(b"\r\n\r\n".to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn however_a_stream_is_cut_the_same_comes_out(
        parts in prop::collection::vec(pieces(), 0..8),
        cuts in prop::collection::vec(0_usize..900, 0..20),
    ) {
        let stream = parts.concat();
        let expected: Vec<Found> =
            parts.iter().filter(|p| p[0] != b'\r').map(|p| Found::Message(p.clone())).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(stream.len())).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut framing, mut all, mut from) = (Framing::new(), Vec::new(), 0);
        for to in cuts {
            prop_assert_eq!(push(&mut framing, &stream[from..to], &mut all), Ok(()));
            from = to;
        }
        prop_assert_eq!(&(all.clone(), Ok(())), &whole(&stream));
        prop_assert_eq!(&(all.clone(), Ok(())), &bytewise(&stream));
        all.retain(|found| *found != Found::Ping);
        prop_assert_eq!(all, expected);
        prop_assert!(!framing.is_within_message());
    }

    #[test]
    fn any_bytes_are_survived_within_the_bound(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
    ) {
        let (mut framing, mut all) = (Framing::new(), Vec::new());
        for chunk in &chunks {
            if push(&mut framing, chunk, &mut all).is_err() {
                break;
            }
            prop_assert!(framing.partial.len() <= BYTES_MAX + 1);
        }
        prop_assert_eq!(whole(&chunks.concat()).0, bytewise(&chunks.concat()).0);
    }
}
