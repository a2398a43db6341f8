//! No input makes the scanner, a reader or a composer panic, or read what is not there.

#[path = "robust/touch.rs"]
mod touch;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sipfed_sip::{Index, compose, scan};
use std::fs;
use std::path::{Path, PathBuf};
use touch::{Room, compose_everything, touch_everything};

/// The torture messages, as seeds.
fn vectors() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let folders = ["rfc4475", "rfc5118", "rfc5118/bare_lf"];
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 75);
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A generator of numbers that gives the same ones on every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// One reader with all its room, used again from message to message as a shard does.
#[derive(Default)]
struct Reader {
    index: Index,
    aor: Vec<u8>,
    room: Room,
    count: usize,
}

impl Reader {
    /// Reads `bytes` with an index that has seen many messages and, every fourth time, with a new one: both see the same.
    fn read(&mut self, bytes: &[u8]) {
        let used = scan(bytes, &mut self.index).map(|message| {
            compose_everything(&message, &mut self.room);
            touch_everything(&message, &mut self.aor)
        });
        self.count += 1;
        if !self.count.is_multiple_of(4) {
            return;
        }
        let mut index = Index::new();
        let new = scan(bytes, &mut index).map(|message| touch_everything(&message, &mut self.aor));
        assert_eq!(used, new, "{}", bytes.escape_ascii());
    }
}

/// Octets that mean something to the grammar, and such as mean nothing.
const INTERESTING: &[u8] = b"\0\t\n\r\x01\x0b\x0c\x1f \"%'()*,/09:;<=>?@AZ[\\]_az~\x7f\x80\xbf\xc0\xff";

/// Every octet of the usual message, and some of the few long ones, which would take most of the time.
fn step(vector: &[u8]) -> usize {
    1 + vector.len() / 400 * 2
}

#[test]
fn every_vector_cut_at_every_length() {
    let mut reader = Reader::default();
    for vector in vectors() {
        for length in (0..=vector.len()).step_by(step(&vector)) {
            reader.read(&vector[..length]);
        }
    }
}

#[test]
fn every_vector_with_each_octet_replaced() {
    let (mut reader, mut numbers) = (Reader::default(), Numbers(4475));
    for mut vector in vectors() {
        for at in (0..vector.len()).step_by(step(&vector)) {
            let was = vector[at];
            vector[at] = INTERESTING[numbers.below(INTERESTING.len())];
            reader.read(&vector);
            vector[at] = was;
        }
    }
}

#[test]
fn vectors_with_parts_moved_doubled_and_lost() {
    let (mut reader, mut numbers) = (Reader::default(), Numbers(5118));
    let vectors = vectors();
    for _ in 0..3000 {
        let mut bytes = vectors[numbers.below(vectors.len())].clone();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(bytes.len() + 1);
            let until = (at + numbers.below(40)).min(bytes.len());
            match numbers.below(4) {
                0 => drop(bytes.drain(at..until)),
                1 => {
                    let part = bytes[at..until].to_vec();
                    let to = numbers.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                2 => bytes.insert(at, INTERESTING[numbers.below(INTERESTING.len())]),
                _ => {
                    let other = &vectors[numbers.below(vectors.len())];
                    let from = numbers.below(other.len());
                    bytes.splice(at..until, other[from..].iter().copied().take(60));
                }
            }
        }
        reader.read(&bytes);
    }
}

/// Random text rarely passes the start line, so it stands behind a sound one.
#[test]
fn random_octets_behind_a_sound_start_line() {
    let (mut reader, mut numbers) = (Reader::default(), Numbers(3261));
    let names = ["Via", "v", "To", "From", "Contact", "m", "Route", "CSeq", "Call-ID", "l", "Require", "X"];
    for round in 0..4000 {
        let mut bytes = b"INVITE sip:a@b SIP/2.0\r\n".to_vec();
        for _ in 0..numbers.below(6) {
            bytes.extend_from_slice(names[numbers.below(names.len())].as_bytes());
            bytes.extend_from_slice(b": ");
            for _ in 0..numbers.below(30) {
                let any = numbers.below(256) as u8;
                bytes.push(if round % 2 == 0 { any } else { INTERESTING[numbers.below(INTERESTING.len())] });
            }
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        reader.read(&bytes);
    }
}

fn config(seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases: 512,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        Reader::default().read(&bytes);
    }

    /// A header field of any value is one line when written, and read back as that value with its line ends as space.
    #[test]
    fn a_written_value_is_read_back(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut out = b"OPTIONS sip:a SIP/2.0\r\n".to_vec();
        compose::header(&mut out, "X", &value);
        compose::end(&mut out);
        let mut index = Index::new();
        let message = scan(&out, &mut index).unwrap();
        prop_assert_eq!(message.all_fields().count(), 2);
        prop_assert!(message.all_fields().all(|field| !field.value.contains(&b'\r') && !field.value.contains(&b'\n')));
        let words = |text: &[u8]| -> Vec<Vec<u8>> {
            text.split(|b| b" \t\r\n".contains(b)).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
        };
        prop_assert_eq!(words(message.all_fields().next().unwrap().value), words(&value));
    }
}
