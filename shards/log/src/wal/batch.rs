//! The entries in one record of a write-ahead log.
//!
//! A record is RocksDB's number (8 bytes), a count (4 bytes), and changes: a tag, the number of the column family, key and
//! value, each with its length before it. A log is only ever put to, so other changes end the reading.

use crate::Sequence;
use crate::entry::START_KEY;

const HEADER_BYTES: usize = 12;
/// A put to a column family other than the default one, which is not used.
const PUT: u8 = 5;

/// The sequences of the entries in a record.
pub(super) fn sequences(record: &[u8]) -> impl Iterator<Item = Sequence> {
    let mut rest = record.get(HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || put(&mut rest)).filter_map(Sequence::from_key).filter(|sequence| *sequence != START_KEY)
}

/// Takes a put, and returns its key.
fn put<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (tag, after) = rest.split_first()?;
    if *tag != PUT {
        return None;
    }
    *rest = after;
    number(rest)?;
    let key = bytes(rest)?;
    bytes(rest)?;
    Some(key)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    let (taken, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(taken)
}

/// A number in groups of seven bits, the lowest first; the highest bit says that another group follows.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_and_starts_are_none() {
        let mut record = vec![0; HEADER_BYTES];
        for key in [0_u64, 77, 78] {
            record.extend_from_slice(&[PUT, 0x81, 0x01, 8]);
            record.extend_from_slice(&key.to_be_bytes());
            record.extend_from_slice(&[0x80, 0x01]);
            record.extend_from_slice(&[9; 128]);
        }
        assert_eq!(sequences(&record).collect::<Vec<_>>(), [Sequence(77), Sequence(78)]);
        for end in 0..record.len() {
            assert!(sequences(&record[..end]).count() < 2, "{end} bytes");
        }
    }
}
