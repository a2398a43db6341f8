//! Single-valued fields.

use crate::chars;
use crate::method::Method;

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, &'static str> {
        let (mut number, mut digits) = (0u64, 0);
        while let Some(digit) = value.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            number = number * 10 + u64::from(digit);
            digits += 1;
            if number > u64::from(u32::MAX) {
                return Err("number is above 2^32 - 1");
            }
        }
        let method = chars::trim_start(&value[digits..]);
        if digits == 0 || digits + method.len() == value.len() || !chars::is_token(method) {
            return Err("is no number and a method");
        }
        let number = number as u32;
        Ok(Self { number, method: Method::from_token(method) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_20_16_cseq() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE"), Ok(CSeq { number: 9, method: Method::Invite }));
        for bad in ["", "1", "1 ", "INVITE", "1INVITE", "4294967296 BYE", "-1 BYE", "1 BYE x"] {
            assert!(CSeq::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
