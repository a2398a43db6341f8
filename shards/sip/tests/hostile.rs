//! Input that crashed or fooled other SIP elements, and what two elements could read differently: each such
//! message is a fault here, or is read in the one way the RFC leaves.

#[path = "hostile/composed.rs"]
mod composed;
#[path = "hostile/fields.rs"]
mod fields;
#[path = "hostile/framing.rs"]
mod framing;
#[path = "hostile/uris.rs"]
mod uris;

use sipfed_sip::{Fault, Index, Message, scan};

/// A sound OPTIONS with `fields` (whole lines) between its own, and `body` behind it.
fn options(fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = b"OPTIONS sip:bob@example.com SIP/2.0\r\n".to_vec();
    if !fields.windows(4).any(|window| window.eq_ignore_ascii_case(b"via:")) {
        bytes.extend_from_slice(b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n");
    }
    bytes.extend_from_slice(b"From: <sip:a@b>;tag=1\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n");
    bytes.extend_from_slice(fields);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Scans `bytes`, which must be a SIP message, and hands it on.
fn with<T>(bytes: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut index = Index::new();
    match scan(bytes, &mut index) {
        Ok(message) => check(&message),
        Err(error) => panic!("{}: {error}", bytes.escape_ascii()),
    }
}

fn fault(bytes: &[u8]) -> Option<Fault> {
    let mut index = Index::new();
    match scan(bytes, &mut index) {
        Ok(message) => message.fault(),
        Err(error) => panic!("{}: {error}", bytes.escape_ascii()),
    }
}
