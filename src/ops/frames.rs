//! Commands out of the bytes of a named pipe, as OpenSIPS's mi_fifo takes them: `:reply:{json}`. Pure.
//!
//! A command ends with its JSON, whether or not a line ends there: opensips-cli ends none. What is no command ends with
//! its line. Several writers share the pipe, and the kernel keeps what one writes at once together (up to 4 KiB); so a
//! command that is cut ends where a colon stands that JSON cannot have there, since that is the next one's.
//!
//! Bounds: a command has [`TEXT_BYTES_MAX`] bytes; of a longer one nothing is kept but that it was too long.

use super::TEXT_BYTES_MAX;

/// Bytes of the name of a reply.
const NAME_BYTES_MAX: usize = 128;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The name of the pipe that the answer is wanted at; empty for none.
    pub(super) reply: String,
    /// What should be JSON.
    pub(super) text: Vec<u8>,
}

/// What was read and is no whole command yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Whether bytes are passed over up to the end of their line.
    is_skipping: bool,
}

impl Frames {
    /// Takes what was read.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the beginning of a command waits for its end.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_skipping
    }

    /// The next command. To be called until there is none, after every [`Frames::add`].
    pub(super) fn next(&mut self) -> Option<Command> {
        loop {
            if self.is_skipping {
                let line = self.bytes.iter().position(|&byte| byte == b'\n');
                self.is_skipping = line.is_none();
                self.bytes.drain(..line.map_or(self.bytes.len(), |end| end + 1));
            }
            let blank = self.bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.bytes.drain(..blank);
            if self.bytes.is_empty() {
                return None;
            }
            let Some(begin) = self.text_begin() else {
                // Neither a name nor, yet, something that cannot be one.
                if self.bytes[0] == b':' && self.bytes.len() <= NAME_BYTES_MAX && !self.bytes.contains(&b'\n') {
                    return None;
                }
                self.is_skipping = true;
                continue;
            };
            let end = text_end(&self.bytes[begin..]).map(|len| begin + len);
            if end.is_none() && self.bytes.len() <= TEXT_BYTES_MAX {
                return None;
            }
            let command = self.cut(begin, end.unwrap_or(begin));
            self.is_skipping = end.is_none();
            return Some(command);
        }
    }

    /// What has come is all: the command whose end is missing, as far as it goes.
    pub(super) fn give_up(&mut self) -> Option<Command> {
        self.is_skipping = false;
        let command = self.text_begin().map(|begin| self.cut(begin, self.bytes.len()));
        self.bytes.clear();
        command
    }

    /// Where the JSON begins; `None` where there is no name before it.
    fn text_begin(&self) -> Option<usize> {
        let rest = self.bytes.strip_prefix(b":")?;
        let name = &rest[..rest.len().min(NAME_BYTES_MAX + 1)];
        let len = name.iter().position(|&byte| byte == b':' || byte == b'\n').filter(|&at| name[at] == b':')?;
        std::str::from_utf8(&name[..len]).ok().map(|_| len + 2)
    }

    /// Takes a command whose JSON is `begin..end` out.
    fn cut(&mut self, begin: usize, end: usize) -> Command {
        let text = self.bytes[begin..end].to_vec();
        let reply = String::from_utf8_lossy(&self.bytes[1..begin - 1]).into_owned();
        self.bytes.drain(..end);
        Command { reply, text }
    }
}

/// The length of the JSON that `bytes` begin with, once it has an end.
fn text_end(bytes: &[u8]) -> Option<usize> {
    let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let (mut depth, mut is_text, mut is_escaped) = (0u32, false, false);
    // The last byte that is not blank.
    let mut last = b' ';
    for (at, &byte) in bytes.iter().enumerate().skip(blank) {
        let before = if byte.is_ascii_whitespace() { last } else { std::mem::replace(&mut last, byte) };
        match byte {
            _ if std::mem::take(&mut is_escaped) => {}
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            // In JSON a colon follows the end of a name, and no text has a line end.
            b':' if is_text && bytes[at - 1] == b'\n' => return Some(at),
            b':' if !is_text && before != b'"' => return Some(at),
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // What is neither an object nor a list ends with its line.
            b'\n' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(parts: &[&str]) -> Vec<(String, String)> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for part in parts {
            frames.add(part.as_bytes());
            found.extend(std::iter::from_fn(|| frames.next()));
        }
        found.extend(frames.give_up());
        found.into_iter().map(|Command { reply, text }| (reply, String::from_utf8(text).unwrap())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(reply, text)| ((*reply).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_command_ends_with_its_json() {
        assert_eq!(all(&[":r:{\"a\":[1,{}]}"]), pairs(&[("r", "{\"a\":[1,{}]}")]));
        assert_eq!(all(&[":r:{}\n", ":s:[]\n:t:{}"]), pairs(&[("r", "{}"), ("s", "[]"), ("t", "{}")]));
        assert_eq!(all(&[":r", ":{\"a", "\":\"}\\\"{\"}", "\n\n"]), pairs(&[("r", "{\"a\":\"}\\\"{\"}")]));
        assert_eq!(all(&["::{}"]), pairs(&[("", "{}")]));
    }

    #[test]
    fn a_command_that_is_cut_does_not_swallow_the_next() {
        assert_eq!(all(&[":r:{\"a\": \n", ":s:{}\n"]), pairs(&[("r", "{\"a\": \n"), ("s", "{}")]));
        assert_eq!(all(&[":r:nonsense\n:s:{}\n"]), pairs(&[("r", "nonsense"), ("s", "{}")]));
        assert_eq!(all(&[":r:{\"a\": "]), pairs(&[("r", "{\"a\": ")]));
        assert_eq!(all(&[":r:{", ":s:{}"]), pairs(&[("r", "{"), ("s", "{}")]));
        assert_eq!(all(&[":r:{\"a\n", ":s:{}"]), pairs(&[("r", "{\"a\n"), ("s", "{}")]));
        assert_eq!(all(&[":r:{\"a\"\n : {\"b:\": 1}}"]), pairs(&[("r", "{\"a\"\n : {\"b:\": 1}}")]));
    }

    #[test]
    fn what_is_no_command_is_passed_over_with_its_line() {
        assert_eq!(all(&["junk\n:r:{}"]), pairs(&[("r", "{}")]));
        assert_eq!(all(&[":no name\n:r:{}\n"]), pairs(&[("r", "{}")]));
        let long = format!(":{}:{{}}\n:r:{{}}", "x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(all(&[&long]), pairs(&[("r", "{}")]));
        assert_eq!(all(&["junk"]), pairs(&[]));
    }

    #[test]
    fn a_command_that_is_too_long_is_told_and_not_kept() {
        let mut frames = Frames::default();
        frames.add(b":r:{\"a\":\"");
        let mut told = Vec::new();
        for _ in 0..100 {
            frames.add(&[b'x'; 4096]);
            told.extend(std::iter::from_fn(|| frames.next()));
            assert!(frames.bytes.len() <= TEXT_BYTES_MAX + 4096);
        }
        assert_eq!(told, [Command { reply: "r".to_owned(), text: Vec::new() }]);
        frames.add(b"\n:s:{}");
        assert_eq!(frames.next().unwrap().reply, "s");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_stay_for_ever(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut frames = Frames::default();
            for part in parts {
                frames.add(&part);
                while frames.next().is_some() {}
            }
            frames.give_up();
            prop_assert!(frames.is_empty());
        }
    }
}
