//! Lists of tokens: Require, Proxy-Require, Supported, Unsupported, Allow.

use crate::chars;
use crate::message::Fields;

/// The tokens of a header field, over all its lines; empty elements are passed over.
#[derive(Clone, Debug)]
pub struct TagList<'a> {
    fields: Fields<'a>,
    rest: &'a [u8],
}

impl<'a> TagList<'a> {
    pub(crate) fn new(fields: Fields<'a>) -> Self {
        Self { fields, rest: &[] }
    }

    /// Whether `tag` is among them; option tags are equal but for case.
    pub fn has(mut self, tag: &str) -> bool {
        self.any(|t| chars::eq_ignore_case(t, tag.as_bytes()))
    }
}

impl<'a> Iterator for TagList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if self.rest.is_empty() {
                self.rest = self.fields.next()?.value;
            }
            let len = chars::position(self.rest, b',').unwrap_or(self.rest.len());
            let tag = chars::trim(&self.rest[..len]);
            self.rest = self.rest.get(len + 1..).unwrap_or_default();
            if !tag.is_empty() {
                return Some(tag);
            }
        }
    }
}
