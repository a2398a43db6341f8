//! The names that peers within TLS have to show certificates for, each as a number that a destination can carry.
//!
//! In: a name, as a URI has it. Out: its [`PeerName`], and for that the name again, which the runtime asks for when it opens a
//! connection. Owned by one shard. Bounds: [`limits::PEER_NAMES_COUNT_MAX`] names. One more takes the place of one that was
//! not used again since it was last passed over; a number whose name has gone that way stands for nothing ever after, so that no
//! peer is taken for another.

use crate::hop::PeerName;
use crate::limits;
use std::collections::BTreeMap;

/// One name, in lower case, and the use that its place is in.
#[derive(Debug)]
struct Named {
    text: Box<str>,
    generation: u32,
    is_used: bool,
}

/// The names of a shard.
#[derive(Debug, Default)]
pub(crate) struct PeerNames {
    places: Vec<Named>,
    by_text: BTreeMap<Box<str>, u32>,
    /// The place that is looked at next when one has to be freed.
    hand: usize,
}

impl PeerNames {
    /// The number of a domain name (RFC 5922 §7.2: compared without regard to case); `None` for what is no such name.
    pub(crate) fn number(&mut self, name: &[u8]) -> Option<PeerName> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let is_name = (1..=253).contains(&name.len())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let text = std::str::from_utf8(name).ok().filter(|_| is_name)?.to_ascii_lowercase();
        let place = match self.by_text.get(text.as_str()) {
            Some(place) => {
                let place = *place as usize;
                self.places[place].is_used = true;
                place
            }
            None => self.take_place(text.into()),
        };
        let named = &self.places[place];
        Some(PeerName::new(place as u32, named.generation))
    }

    fn take_place(&mut self, text: Box<str>) -> usize {
        if self.places.len() < limits::PEER_NAMES_COUNT_MAX {
            self.by_text.insert(text.clone(), self.places.len() as u32);
            self.places.push(Named { text, generation: 0, is_used: false });
            return self.places.len() - 1;
        }
        // Two rounds at most: the first one takes the marks away.
        let place = loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.places.len();
            if !std::mem::take(&mut self.places[place].is_used) {
                break place;
            }
        };
        let named = &mut self.places[place];
        self.by_text.remove(&named.text);
        self.by_text.insert(text.clone(), place as u32);
        named.text = text;
        named.generation = named.generation.wrapping_add(1);
        place
    }

    /// The name that a number stands for; `None` once it had to make room.
    pub(crate) fn text(&self, name: PeerName) -> Option<&str> {
        let named = self.places.get(name.place() as usize)?;
        (named.generation == name.generation()).then_some(&*named.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5922_7_2_a_name_is_one_number_however_it_is_written() {
        let mut names = PeerNames::default();
        let name = names.number(b"Sip.Example.COM").unwrap();
        assert_eq!(names.number(b"sip.example.com."), Some(name));
        assert_ne!(names.number(b"example.com"), Some(name));
        assert_eq!(names.text(name), Some("sip.example.com"));
        for wrong in [&b""[..], b".", b"a b", b"*.example.com", "\u{e9}.example".as_bytes(), &[b'a'; 254]] {
            assert_eq!(names.number(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_name_that_is_used_stays_and_one_that_made_room_is_never_another_one() {
        let mut names = PeerNames::default();
        let first = names.number(b"first.example").unwrap();
        let second = names.number(b"second.example").unwrap();
        for n in 0..limits::PEER_NAMES_COUNT_MAX * 3 {
            names.number(format!("n{n}.example").as_bytes()).unwrap();
            assert_eq!(names.number(b"first.example"), Some(first), "{n}");
        }
        assert_eq!(names.text(first), Some("first.example"));
        assert_eq!(names.text(second), None);
        assert_eq!(names.places.len(), limits::PEER_NAMES_COUNT_MAX);
        assert_eq!(names.by_text.len(), limits::PEER_NAMES_COUNT_MAX);
    }
}
