//! What a text has to be like: letters in any case, `*` for any number of any characters, `?` for any one, and `|` between
//! patterns of which it has to be like one.

use std::fmt;

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// From its text; every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.bytes().map(|byte| byte.to_ascii_lowercase()).collect())
    }

    /// Its text, in lower case.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Whether all of `text` is like it. Takes no longer than the product of their lengths.
    pub(crate) fn is_like(&self, text: &[u8]) -> bool {
        self.0.split(|byte| *byte == b'|').any(|alternative| is_like(alternative, text))
    }
}

/// The same for a pattern without alternatives.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Where to go on after the last star: behind it in the pattern, and at which byte of the text.
    let mut again: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(place) {
            Some(b'*') => {
                again = Some((place + 1, at));
                place += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[at].to_ascii_lowercase() => {
                place += 1;
                at += 1;
            }
            _ => {
                let Some((behind, from)) = again else { return false };
                again = Some((behind, from + 1));
                (place, at) = (behind, from + 1);
            }
        }
    }
    pattern[place..].iter().all(|byte| *byte == b'*')
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_number_question_marks_for_one_and_bars_for_either() {
        for (pattern, like, unlike) in [
            ("snom*", &["snom", "Snom-370"][..], &["a snom", "sno"][..]),
            ("*snom*", &["snom", "A SNOM", "snosnom!"], &["sno", ""]),
            ("*", &["", "x"], &[]),
            ("", &[""], &["x"]),
            ("a?c", &["abc", "A*C"], &["ac", "abbc"]),
            ("*a*b*c", &["abc", "xaxbxc", "aabbcc"], &["acb", "abcx"]),
            ("**", &["", "y"], &[]),
            ("snom*|*yealink*|x", &["Snom-370", "A Yealink", "x"], &["a snom", "sno", "", "xx"]),
            ("x|", &["x", ""], &["|"]),
        ] {
            let pattern = Pattern::new(pattern);
            for text in like {
                assert!(pattern.is_like(text.as_bytes()), "{text} is like {pattern:?}");
            }
            for text in unlike {
                assert!(!pattern.is_like(text.as_bytes()), "{text} is not like {pattern:?}");
            }
        }
        // What makes a naive one take for ever.
        assert!(!Pattern::new(&"*a".repeat(200)).is_like(&[b'a'; 199]));
        assert!(!Pattern::new(&format!("{}b", "a*".repeat(30))).is_like(&vec![b'a'; 60_000]));
    }
}
