//! The records of one write-ahead log.
//!
//! A log is a row of blocks of 32 KiB. A record lies in one block, or is split into a first, middle and last fragment.
//! Each fragment has a header: CRC-32C of type and content (rotated and shifted, so that a checksum of checksums is not
//! zero), length, type. The last bytes of a block that are too few for a header are unused.

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Types from here on may be skipped by those that do not know them.
const IGNORABLE: u8 = 128;

/// What comes next in a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole record, which begins at `offset`; [`Records::payload`] has it.
    Record { offset: usize },
    /// Something that cannot be read.
    Bad { offset: usize, reason: &'static str },
}

/// Goes through a log.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    payload: Vec<u8>,
    /// Where the record begins whose first fragments are in `payload`.
    begun: Option<usize>,
}

/// A fragment whose checksum is right.
struct Fragment<'a> {
    offset: usize,
    kind: u8,
    content: &'a [u8],
}

struct Bad {
    offset: usize,
    reason: &'static str,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, payload: Vec::new(), begun: None }
    }

    /// The record that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The next record, or the next place that cannot be read. After such a place it goes on where a record may begin.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        loop {
            let Some(found) = self.fragment() else {
                let offset = self.begun.take()?;
                return Some(Item::Bad { offset, reason: "the file ends within a record" });
            };
            let fragment = match found {
                Ok(fragment) => fragment,
                Err(Bad { offset, reason }) => {
                    self.begun = None;
                    return Some(Item::Bad { offset, reason });
                }
            };
            let Fragment { offset, kind, content } = fragment;
            match (kind, self.begun) {
                (FULL | FIRST, Some(begun)) => {
                    // Comes back to this fragment with nothing begun.
                    self.begun = None;
                    self.at = offset;
                    return Some(Item::Bad { offset: begun, reason: "a record ends before its last fragment" });
                }
                (FULL, None) => {
                    self.payload.clear();
                    self.payload.extend_from_slice(content);
                    return Some(Item::Record { offset });
                }
                (FIRST, None) => {
                    self.payload.clear();
                    self.payload.extend_from_slice(content);
                    self.begun = Some(offset);
                }
                (MIDDLE, Some(_)) => self.payload.extend_from_slice(content),
                (LAST, Some(begun)) => {
                    self.payload.extend_from_slice(content);
                    self.begun = None;
                    return Some(Item::Record { offset: begun });
                }
                (MIDDLE | LAST, None) => {
                    return Some(Item::Bad { offset, reason: "a fragment without the beginning of its record" });
                }
                (IGNORABLE.., _) => {}
                _ => return Some(Item::Bad { offset, reason: "a record of a type that is not known" }),
            }
        }
    }

    fn fragment(&mut self) -> Option<Result<Fragment<'a>, Bad>> {
        let mut block_end = self.block_end();
        if block_end - self.at < HEADER_BYTES {
            self.at = block_end;
            block_end = self.block_end();
        }
        let offset = self.at;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let mut bad = |reason, next: usize| {
            self.at = next.min(self.bytes.len());
            Some(Err(Bad { offset, reason }))
        };
        let Some((header, after)) = rest.split_at_checked(HEADER_BYTES) else {
            return bad("the file ends within the header of a record", usize::MAX);
        };
        if header == [0; HEADER_BYTES] {
            let is_rest = rest.iter().all(|byte| *byte == 0);
            return bad("zeros in place of a record", if is_rest { usize::MAX } else { block_end });
        }
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let end = offset + HEADER_BYTES + length;
        if end > block_end {
            return bad("the length of a record reaches beyond its block", block_end);
        }
        let Some(content) = after.get(..length) else {
            return bad("the file ends within a record", usize::MAX);
        };
        let kind = header[6];
        let computed = masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), content));
        if stored != computed {
            return bad("the checksum of a record does not fit", end);
        }
        self.at = end;
        Some(Ok(Fragment { offset, kind, content }))
    }

    /// Where the block ends that `at` is in.
    fn block_end(&self) -> usize {
        (self.at / BLOCK_BYTES + 1) * BLOCK_BYTES
    }
}

fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes records as RocksDB does.
    fn written(records: &[Vec<u8>]) -> Vec<u8> {
        let mut log = Vec::new();
        for record in records {
            let mut rest = record.as_slice();
            let mut is_first = true;
            loop {
                let left = BLOCK_BYTES - log.len() % BLOCK_BYTES;
                if left < HEADER_BYTES {
                    log.resize(log.len() + left, 0);
                    continue;
                }
                let (content, after) = rest.split_at(rest.len().min(left - HEADER_BYTES));
                let kind = match (is_first, after.is_empty()) {
                    (true, true) => FULL,
                    (true, false) => FIRST,
                    (false, false) => MIDDLE,
                    (false, true) => LAST,
                };
                let checksum = masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), content));
                log.extend_from_slice(&checksum.to_le_bytes());
                log.extend_from_slice(&(content.len() as u16).to_le_bytes());
                log.push(kind);
                log.extend_from_slice(content);
                (rest, is_first) = (after, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        log
    }

    /// What can be read, and whether something could not be read before it; at last whether the end can be read.
    fn read(log: &[u8]) -> (Vec<(Vec<u8>, bool)>, bool) {
        let mut records = Records::new(log);
        let (mut found, mut is_bad) = (Vec::new(), false);
        while let Some(item) = records.next_item() {
            match item {
                Item::Bad { .. } => is_bad = true,
                Item::Record { .. } => found.push((records.payload().to_vec(), std::mem::take(&mut is_bad))),
            }
        }
        (found, is_bad)
    }

    /// Records of all sizes that matter: small, up to the end of a block, over several.
    fn samples() -> Vec<Vec<u8>> {
        [10, 0, 32_700, 40, 100_000, 3, 65_530, 1].iter().map(|length| vec![*length as u8; *length]).collect()
    }

    #[test]
    fn records_come_back_over_all_blocks() {
        let (found, is_bad) = read(&written(&samples()));
        assert!(!is_bad);
        assert_eq!(found, samples().into_iter().map(|record| (record, false)).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_cut_anywhere_gives_whole_records_and_then_a_torn_tail() {
        let log = written(&samples());
        let starts: Vec<usize> = (0..=samples().len()).map(|count| written(&samples()[..count]).len()).collect();
        for end in (0..log.len()).step_by(101).chain(starts.iter().copied()) {
            let (found, is_torn) = read(&log[..end]);
            let whole = starts.iter().filter(|start| **start <= end).count() - 1;
            assert_eq!(found.len(), whole, "cut at {end}");
            assert!(found.iter().all(|(_, is_after_bad)| !is_after_bad), "cut at {end}");
            // The unused end of a block is no record.
            let is_between = end - starts[whole] < HEADER_BYTES && read(&log[..end]).0.len() == whole && !is_torn;
            assert!(is_torn || starts.contains(&end) || is_between, "cut at {end}");
        }
    }

    #[test]
    fn what_follows_a_damaged_record_is_found() {
        let records: Vec<Vec<u8>> = (0..200_u32).map(|number| vec![number as u8; 1000]).collect();
        let log = written(&records);
        for at in [0, 5, 6, 500, 40_000, 32_768 * 2 + 4, 100_000] {
            let mut damaged = log.clone();
            damaged[at] ^= 0x40;
            let (found, is_bad) = read(&damaged);
            assert!(!is_bad, "byte {at}: the end can be read");
            assert_eq!(found.iter().filter(|(_, is_after_bad)| *is_after_bad).count(), 1, "byte {at}");
            assert!(found.len() >= records.len() - 34, "byte {at}: at most one block is lost");
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_loop() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        for length in [0, 1, 6, 7, 8, 4096, 100_000] {
            let bytes: Vec<u8> = (0..length).map(|_| noise()).collect();
            assert!(read(&bytes).0.is_empty(), "{length} bytes");
            assert!(read(&vec![0; length]).0.is_empty(), "{length} zeros");
        }
    }
}
