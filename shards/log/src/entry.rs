//! How a turn's operations stand in the store.
//!
//! The key is the sequence, eight bytes, the highest first, so that order of keys is order of time. The value is one
//! byte of format, four bytes of CRC-32C over key, format and operations (lowest first), and the operations. The
//! checksum is our own, so that damage is found no matter which layer below it has failed to notice, and it covers the
//! key, so that a value under a wrong key is found as well.
//!
//! A generation has, under the key 0, a record that says when it started.

use crate::Sequence;

/// An entry with operations.
const OPERATIONS: u8 = 1;
/// The start of a generation.
const START: u8 = 2;
/// Bytes before the operations.
pub(crate) const HEADER_BYTES: usize = 5;
/// The key of a generation's start; no entry has it.
pub(crate) const START_KEY: Sequence = Sequence(0);

fn checksum(sequence: Sequence, format: u8, body: &[u8]) -> u32 {
    let head = crc32c::crc32c(&sequence.key());
    let head = crc32c::crc32c_append(head, &[format]);
    crc32c::crc32c_append(head, body)
}

fn write(sequence: Sequence, format: u8, body: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.push(format);
    into.extend_from_slice(&checksum(sequence, format, body).to_le_bytes());
    into.extend_from_slice(body);
}

fn read(sequence: Sequence, wanted: u8, value: &[u8]) -> Result<&[u8], String> {
    let Some((header, body)) = value.split_at_checked(HEADER_BYTES) else {
        return Err(format!("{} bytes are too few for an entry", value.len()));
    };
    if header[0] != wanted {
        return Err(format!("format {} is not known here, {wanted} is", header[0]));
    }
    let stored = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
    let computed = checksum(sequence, wanted, body);
    if stored != computed {
        return Err(format!("checksum of the entry: {stored:08x} is stored, {computed:08x} is right"));
    }
    Ok(body)
}

/// Writes an entry's value in place of what is in `into`.
pub(crate) fn encode(sequence: Sequence, operations: &[u8], into: &mut Vec<u8>) {
    write(sequence, OPERATIONS, operations, into);
}

/// The operations of an entry, or what is wrong with it.
pub(crate) fn decode(sequence: Sequence, value: &[u8]) -> Result<&[u8], String> {
    read(sequence, OPERATIONS, value)
}

/// What a generation says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// When it started, in seconds since 1970.
    pub(crate) started_at_s: u64,
    /// The last sequence that was given when this was written, so that numbers run on when all entries are dropped.
    pub(crate) floor: Sequence,
}

impl Start {
    /// The value of the record.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&self.started_at_s.to_be_bytes());
        body[8..].copy_from_slice(&self.floor.key());
        let mut value = Vec::new();
        write(START_KEY, START, &body, &mut value);
        value
    }

    /// Reads the value of the record, or says what is wrong with it.
    pub(crate) fn decode(value: &[u8]) -> Result<Self, String> {
        let body = read(START_KEY, START, value)?;
        let (started_at_s, floor) = body.split_at_checked(8).unwrap_or_default();
        match (Sequence::from_key(started_at_s), Sequence::from_key(floor)) {
            (Some(started_at_s), Some(floor)) => Ok(Self { started_at_s: started_at_s.0, floor }),
            _ => Err(format!("{} bytes are no start of a generation", body.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let mut value = vec![9; 100];
        for operations in [&b""[..], b"x", &[0; 3000]] {
            encode(Sequence(77), operations, &mut value);
            assert_eq!(decode(Sequence(77), &value), Ok(operations));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut value = Vec::new();
        encode(Sequence(5), b"operations", &mut value);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Sequence(5), &damaged).is_err(), "bit {bit}");
        }
        assert!(decode(Sequence(6), &value).is_err(), "under another key");
        assert!(decode(Sequence(5), &value[..4]).is_err(), "cut");
    }

    #[test]
    fn a_start_is_no_entry() {
        let start = Start { started_at_s: 1_750_000_000, floor: Sequence(9) };
        assert_eq!(Start::decode(&start.encode()), Ok(start));
        assert!(decode(START_KEY, &start.encode()).is_err());
    }
}
