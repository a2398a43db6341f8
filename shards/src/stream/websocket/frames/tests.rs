use super::*;
use proptest::prelude::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0xff);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    End(End),
}

/// What is found in pieces, to the end of what is read.
fn read_pieces<'a>(frames: &mut Frames, pieces: impl Iterator<Item = &'a [u8]>, bytes_max: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    for piece in pieces {
        let end = frames.push(&mut piece.to_vec(), bytes_max, |found| {
            seen.push(match found {
                Found::Message(bytes) => Seen::Message(bytes.to_vec()),
                Found::Ping(bytes) => Seen::Ping(bytes.to_vec()),
            });
        });
        assert!(frames.held.len() <= bytes_max + 14 + CONTROL_BYTES_MAX, "{} bytes are held", frames.held.len());
        if let Err(end) = end {
            seen.push(Seen::End(end));
            break;
        }
    }
    seen
}

fn read(bytes: &[u8], bytes_max: usize) -> Vec<Seen> {
    read_pieces(&mut Frames::default(), std::iter::once(bytes), bytes_max)
}

/// That the same is found in `bytes` wherever they are cut in two, and byte by byte.
#[track_caller]
fn assert_found(bytes: &[u8], bytes_max: usize, expected: &[Seen]) {
    assert_eq!(read(bytes, bytes_max), expected, "in one piece");
    for cut in 0..=bytes.len() {
        let pieces = [&bytes[..cut], &bytes[cut..]];
        assert_eq!(read_pieces(&mut Frames::default(), pieces.into_iter(), bytes_max), expected, "cut at {cut}");
    }
    assert_eq!(read_pieces(&mut Frames::default(), bytes.chunks(1), bytes_max), expected, "byte by byte");
}

fn message(text: &str) -> Seen {
    Seen::Message(text.as_bytes().to_vec())
}

fn end(end: End) -> Seen {
    Seen::End(end)
}

#[test]
fn rfc6455_5_7_the_examples_are_read() {
    assert_found(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], 5, &[message("Hello")]);
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_found(&ping, 0, &[Seen::Ping(b"Hello".to_vec())]);
}

#[test]
fn rfc6455_5_7_the_examples_are_written() {
    assert_eq!(head(Opcode::Text, 5).as_slice(), [0x81, 5]);
    assert_eq!(head(Opcode::Pong, 5).as_slice(), [0x8a, 5]);
    assert_eq!(head(Opcode::Binary, 256).as_slice(), [0x82, 0x7e, 1, 0]);
    assert_eq!(head(Opcode::Binary, 65_536).as_slice(), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(head(Opcode::Text, 125).as_slice(), [0x81, 125]);
    assert_eq!(head(Opcode::Text, 126).as_slice(), [0x81, 126, 0, 126]);
    assert_eq!(head(Opcode::Text, 65_535).as_slice(), [0x81, 126, 0xff, 0xff]);
}

#[test]
fn a_message_goes_out_as_text_where_it_can() {
    assert_eq!(message_head("Grüße".as_bytes()).as_slice(), [0x81, 7]);
    assert_eq!(message_head(b"\xff").as_slice(), [0x82, 1]);
}

#[test]
fn messages_of_every_form_of_length_are_read() {
    for len in [0, 1, 3, 4, 5, 125, 126, 127, 300] {
        let text = "x".repeat(len);
        for opcode in [TEXT, BINARY] {
            let bytes = [frame(FIN | opcode, text.as_bytes()), frame(FIN | opcode, b"next")].concat();
            assert_found(&bytes, 300, &[message(&text), message("next")]);
        }
    }
    for len in [65_535, 65_536, 100_000] {
        let text = "x".repeat(len);
        let bytes = frame(FIN | BINARY, text.as_bytes());
        assert_eq!(read(&bytes, len), [message(&text)]);
        assert_eq!(read_pieces(&mut Frames::default(), bytes.chunks(8192), len), [message(&text)]);
    }
}

#[test]
fn rfc6455_5_4_fragments_are_joined_with_control_frames_between_them() {
    let bytes = [
        frame(TEXT, "Gr\u{fc}".as_bytes().split_at(3).0),
        frame(PING, b"there?"),
        frame(CONTINUATION, "\u{fc}\u{df}".as_bytes().split_at(1).1),
        frame(PONG, b"whatever"),
        frame(CONTINUATION, b""),
        frame(FIN | CONTINUATION, b"e"),
        frame(FIN | BINARY, b"next"),
    ]
    .concat();
    let expected = [Seen::Ping(b"there?".to_vec()), message("Gr\u{fc}\u{df}e"), message("next")];
    assert_found(&bytes, 7, &expected);
    let empty = [frame(TEXT, b""), frame(FIN | CONTINUATION, b"")].concat();
    assert_found(&empty, 0, &[message("")]);
}

#[test]
fn rfc6455_5_1_what_is_not_masked_is_refused() {
    assert_found(&[0x81, 0x05, b'H', b'e', b'l', b'l', b'o'], 100, &[end(End::Breach)]);
    // Plain SIP, and what a client of TLS says first.
    assert_found(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", 100, &[end(End::Breach)]);
    assert_found(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc], 100, &[end(End::Breach)]);
}

#[test]
fn rfc6455_5_2_reserved_bits_and_opcodes_are_refused() {
    for first in (0..=u8::MAX).filter(|first| first & 0x70 != 0 || (3..8).contains(&(first & 15)) || first & 15 > 10) {
        assert_found(&frame(first, b"x"), 100, &[end(End::Breach)]);
    }
}

#[test]
fn rfc6455_5_2_a_length_is_as_short_as_it_can_be() {
    for head in [
        &[0x81, 0xfe, 0, 125][..],
        &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_found(&[head, &KEY].concat(), 1 << 20, &[end(End::Breach)]);
    }
}

#[test]
fn rfc6455_5_4_what_goes_on_with_nothing_or_begins_twice_is_refused() {
    assert_found(&frame(FIN | CONTINUATION, b"x"), 100, &[end(End::Breach)]);
    for opcode in [TEXT, BINARY, FIN | TEXT] {
        assert_found(&[frame(TEXT, b"x"), frame(opcode, b"y")].concat(), 100, &[end(End::Breach)]);
    }
}

#[test]
fn rfc6455_5_5_a_control_frame_is_whole_and_short() {
    for opcode in [CLOSE, PING, PONG] {
        assert_found(&frame(opcode & !FIN, b"x"), 100, &[end(End::Breach)]);
        assert_found(&frame(opcode, &[b'x'; 126]), 1000, &[end(End::Breach)]);
    }
    assert_found(&frame(PING, &[b'x'; 125]), 1, &[Seen::Ping(vec![b'x'; 125])]);
}

#[test]
fn a_message_that_would_be_too_long_is_refused_before_it_comes() {
    for len in [101_u64, 126, 70_000, i64::MAX as u64] {
        let whole = frame(FIN | TEXT, &vec![b'x'; len.min(70_000) as usize]);
        let mut head = whole[..whole.len() - len.min(70_000) as usize].to_vec();
        if len > 70_000 {
            head[2..10].copy_from_slice(&len.to_be_bytes());
        }
        assert_found(&head, 100, &[end(End::TooLong)]);
    }
    let joined = [frame(TEXT, &[b'x'; 60]), frame(PING, b""), frame(CONTINUATION, &[b'x'; 41])].concat();
    assert_found(&joined, 100, &[Seen::Ping(Vec::new()), end(End::TooLong)]);
    assert_found(&joined, 101, &[Seen::Ping(Vec::new())]);
}

#[test]
fn rfc6455_8_1_text_is_utf8() {
    assert_found(&frame(FIN | TEXT, b"\xc3"), 100, &[end(End::NotUtf8)]);
    assert_found(&[frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"x")].concat(), 100, &[end(End::NotUtf8)]);
    assert_found(&frame(FIN | BINARY, b"\xc3"), 100, &[Seen::Message(vec![0xc3])]);
}

#[test]
fn rfc6455_5_5_1_a_close_says_a_code_that_goes_back() {
    assert_found(&[frame(CLOSE, b""), frame(FIN | TEXT, b"late")].concat(), 100, &[end(End::Closed(None))]);
    for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4999] {
        let payload = [&code.to_be_bytes()[..], b"reason"].concat();
        assert_found(&frame(CLOSE, &payload), 100, &[end(End::Closed(Some(code)))]);
        assert_eq!(End::Closed(Some(code)).code(), Some(code));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_found(&frame(CLOSE, &code.to_be_bytes()), 100, &[end(End::Breach)]);
    }
    assert_found(&frame(CLOSE, b"x"), 100, &[end(End::Breach)]);
    assert_found(&frame(CLOSE, b"\x03\xe8\xff"), 100, &[end(End::NotUtf8)]);
}

#[test]
fn nothing_is_held_between_messages() {
    let mut frames = Frames::default();
    let bytes = [frame(BINARY, &[0; 500]), frame(PING, b"x"), frame(FIN | CONTINUATION, &[0; 500])].concat();
    for pieces in [bytes.chunks(1), bytes.chunks(7), bytes.chunks(600), bytes.chunks(bytes.len())] {
        assert_eq!(read_pieces(&mut frames, pieces, 1000).len(), 2);
        assert_eq!(frames.held.capacity(), 0);
    }
}

/// A message of a client: its fragments, and what stands between them.
#[derive(Clone, Debug)]
struct Sent {
    is_text: bool,
    fragments: Vec<(String, Option<Vec<u8>>)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let ping = prop::option::of(prop::collection::vec(any::<u8>(), 0..=CONTROL_BYTES_MAX));
    let fragments = prop::collection::vec((".{0,150}", ping), 1..4);
    (any::<bool>(), fragments).prop_map(|(is_text, fragments)| Sent { is_text, fragments })
}

fn bytes_of(all: &[Sent]) -> (Vec<u8>, Vec<Seen>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for Sent { is_text, fragments } in all {
        for (index, (text, ping)) in fragments.iter().enumerate() {
            let begin = if *is_text { TEXT } else { BINARY };
            let opcode = if index == 0 { begin } else { CONTINUATION };
            let fin = if index + 1 == fragments.len() { FIN } else { 0 };
            bytes.extend(frame(opcode | fin, text.as_bytes()));
            if let Some(ping) = ping.as_ref().filter(|_| fin == 0) {
                bytes.extend(frame(PING, ping));
                expected.push(Seen::Ping(ping.clone()));
            }
        }
        expected.push(message(&fragments.iter().map(|(text, _)| text.as_str()).collect::<String>()));
    }
    (bytes, expected)
}

proptest! {
    #[test]
    fn what_was_sent_is_found_however_it_is_cut(
        all in prop::collection::vec(sent(), 0..5),
        cuts in prop::collection::vec(1_usize..400, 1..50),
    ) {
        let (bytes, expected) = bytes_of(&all);
        let mut rest = &bytes[..];
        let mut cuts = cuts.iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let len = (*cuts.next()?).min(rest.len());
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            (!piece.is_empty()).then_some(piece)
        });
        let mut frames = Frames::default();
        prop_assert_eq!(read_pieces(&mut frames, pieces, 4000), expected);
        prop_assert_eq!(frames.held.capacity(), 0);
    }

    #[test]
    fn whatever_comes_is_read_alike_however_it_is_cut_and_within_bounds(
        all in prop::collection::vec(sent(), 0..3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        junk in prop::collection::vec(any::<u8>(), 0..40),
        len in 1_usize..30,
    ) {
        let (mut bytes, _) = bytes_of(&all);
        bytes.extend(junk);
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let whole = read(&bytes, 200);
        prop_assert_eq!(read_pieces(&mut Frames::default(), bytes.chunks(len), 200), whole);
    }

    #[test]
    fn what_a_server_writes_a_client_reads(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
        // The same head with a mask of zeros is one of a client.
        let mut bytes = message_head(&payload).to_vec();
        bytes[1] |= 0x80;
        bytes.extend([0; 4]);
        bytes.extend(&payload);
        prop_assert_eq!(read(&bytes, payload.len()), [Seen::Message(payload)]);
    }
}
