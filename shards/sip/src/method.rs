//! Request methods.

/// A method; method names are case-sensitive (RFC 3261 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// RFC 3261.
    Invite,
    /// RFC 3261.
    Ack,
    /// RFC 3261.
    Bye,
    /// RFC 3261.
    Cancel,
    /// RFC 3261.
    Options,
    /// RFC 3261.
    Register,
    /// RFC 3262.
    Prack,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3903.
    Publish,
    /// RFC 6086.
    Info,
    /// RFC 3515.
    Refer,
    /// RFC 3428.
    Message,
    /// RFC 3311.
    Update,
    /// Any other token.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// Those with a name of their own, in the order of their bit in [`Method::bit`].
    pub const KNOWN: [Method<'static>; 14] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Subscribe,
        Method::Notify,
        Method::Publish,
        Method::Info,
        Method::Refer,
        Method::Message,
        Method::Update,
    ];

    /// The method named by `token`.
    pub fn from_token(token: &'a [u8]) -> Self {
        // By length first: a list of methods is read for every new binding.
        let candidate = match (token.len(), token.first()) {
            (6, Some(b'I')) => Self::Invite,
            (3, Some(b'A')) => Self::Ack,
            (3, Some(b'B')) => Self::Bye,
            (6, Some(b'C')) => Self::Cancel,
            (7, Some(b'O')) => Self::Options,
            (8, Some(b'R')) => Self::Register,
            (5, Some(b'P')) => Self::Prack,
            (9, Some(b'S')) => Self::Subscribe,
            (6, Some(b'N')) => Self::Notify,
            (7, Some(b'P')) => Self::Publish,
            (4, Some(b'I')) => Self::Info,
            (5, Some(b'R')) => Self::Refer,
            (7, Some(b'M')) => Self::Message,
            (6, Some(b'U')) => Self::Update,
            _ => return Self::Other(token),
        };
        if candidate.as_bytes() == token { candidate } else { Self::Other(token) }
    }

    /// Its name.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Invite => b"INVITE",
            Self::Ack => b"ACK",
            Self::Bye => b"BYE",
            Self::Cancel => b"CANCEL",
            Self::Options => b"OPTIONS",
            Self::Register => b"REGISTER",
            Self::Prack => b"PRACK",
            Self::Subscribe => b"SUBSCRIBE",
            Self::Notify => b"NOTIFY",
            Self::Publish => b"PUBLISH",
            Self::Info => b"INFO",
            Self::Refer => b"REFER",
            Self::Message => b"MESSAGE",
            Self::Update => b"UPDATE",
            Self::Other(token) => token,
        }
    }

    /// The bit that stands for it in a set of methods; the top bit of 16 stands for all others.
    pub fn bit(&self) -> u16 {
        match self {
            Self::Invite => 1 << 0,
            Self::Ack => 1 << 1,
            Self::Bye => 1 << 2,
            Self::Cancel => 1 << 3,
            Self::Options => 1 << 4,
            Self::Register => 1 << 5,
            Self::Prack => 1 << 6,
            Self::Subscribe => 1 << 7,
            Self::Notify => 1 << 8,
            Self::Publish => 1 << 9,
            Self::Info => 1 << 10,
            Self::Refer => 1 << 11,
            Self::Message => 1 << 12,
            Self::Update => 1 << 13,
            Self::Other(_) => 1 << 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_method_has_its_name_and_its_own_bit() {
        let mut seen = 0;
        for method in Method::KNOWN {
            assert_eq!(Method::from_token(method.as_bytes()), method);
            assert_eq!(seen & method.bit(), 0);
            seen |= method.bit();
        }
        assert_eq!(Method::from_token(b"invite"), Method::Other(b"invite"));
    }
}
