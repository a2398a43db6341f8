//! Messages that are made once and then changed in place.
//!
//! A template is a whole message, built with rsip, in which placeholders of fixed width stand for what differs
//! from message to message. Sending one then costs a copy and a few stores, so that the generator stays
//! cheaper than the server it measures.

use crate::error::Error;
use crate::sys::DATAGRAM_BYTES_MAX;
use memchr::memmem;

/// A message with placeholders.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
}

/// The places of one placeholder in its template.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    places: Vec<usize>,
    width: usize,
}

impl Template {
    /// A template of `bytes`, which must fit into a datagram of the batches.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self, Error> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Error::Template(format!("{} bytes do not fit into a datagram", bytes.len())));
        }
        Ok(Self { bytes })
    }

    /// All places of `placeholder`, of which there must be `count`.
    pub(crate) fn field(&self, placeholder: &str, count: usize) -> Result<Field, Error> {
        let places: Vec<usize> = memmem::find_iter(&self.bytes, placeholder).collect();
        if places.len() == count {
            Ok(Field { places, width: placeholder.len() })
        } else {
            Err(Error::Template(format!("{placeholder} stands at {} places, not {count}", places.len())))
        }
    }

    /// Its length, which is the length of every message made from it.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies it to the start of `room`, placeholders and all.
    pub(crate) fn copy_to(&self, room: &mut [u8]) {
        room[..self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

impl Field {
    /// Writes `value`, which must be as wide as the placeholder, at all its places.
    pub(crate) fn write(&self, message: &mut [u8], value: &[u8]) {
        debug_assert_eq!(value.len(), self.width, "a value must be as wide as its placeholder");
        for &place in &self.places {
            message[place..place + self.width].copy_from_slice(value);
        }
    }
}

/// The last `WIDTH` decimal digits of `value`, with leading zeroes.
pub(crate) fn decimal<const WIDTH: usize>(mut value: u32) -> [u8; WIDTH] {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    digits
}

/// The last `WIDTH` hexadecimal digits of `value`, with leading zeroes.
pub(crate) fn hexadecimal<const WIDTH: usize>(mut value: u32) -> [u8; WIDTH] {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
    digits
}

/// The number that `digits` are in hexadecimal; `None` where one of them is none.
pub(crate) fn parse_hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, &digit| {
        let value = (digit as char).to_digit(16)?;
        Some(sum << 4 | value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_written_at_all_its_places() {
        let template = Template::new(b"a=NNN;b=NNN;c=XX".to_vec()).unwrap();
        let field = template.field("NNN", 2).unwrap();
        let mut room = [0; 64];
        template.copy_to(&mut room);
        field.write(&mut room[..template.len()], &decimal::<3>(42));
        assert_eq!(&room[..template.len()], b"a=042;b=042;c=XX");
    }

    #[test]
    fn a_placeholder_that_is_missing_or_ambiguous_is_refused() {
        let template = Template::new(b"a=NNN;b=NNN".to_vec()).unwrap();
        assert!(template.field("NNN", 1).is_err());
        assert!(template.field("PPP", 1).is_err());
    }

    #[test]
    fn digits_come_back_as_their_number() {
        assert_eq!(&decimal::<9>(100_042), b"000100042");
        assert_eq!(&hexadecimal::<8>(0xdead_beef), b"deadbeef");
        assert_eq!(parse_hexadecimal(b"00beef00"), Some(0x00be_ef00));
        assert_eq!(parse_hexadecimal(b"00beeg00"), None);
    }
}
