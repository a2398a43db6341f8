//! GRUUs (RFC 5627): URIs that lead to one instance of an AoR.
//!
//! The public one names the instance openly. A temporary one says nothing about its AoR: it is a sealed
//! box with the AoR's hash, the binding and the time the binding was first made, so that nothing has to be
//! stored for it, anyone but this node finds it meaningless, and a forged one is refused. It dies with its
//! registration (§4.2): a new Call-ID gives a binding a new beginning.

use crate::keys::AorHash;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};

/// How the user part of a temporary GRUU begins.
pub(crate) const GRUU_PREFIX: &[u8] = b"tgruu.";

const NONCE_BYTES: usize = 12;
const BOX_BYTES: usize = 20;
const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = NONCE_BYTES + BOX_BYTES + TAG_BYTES;
const TEXT_BYTES: usize = SEALED_BYTES / 3 * 4;
const _: () = assert!(SEALED_BYTES.is_multiple_of(3), "the text needs no padding");

/// What a temporary GRUU holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TempGruu {
    pub(crate) aor: AorHash,
    pub(crate) contact_id: u64,
    pub(crate) first_at_s: u32,
}

/// Parameters that we write and a phone might send back.
pub(super) fn is_gruu_param(name: &[u8]) -> bool {
    sipfed_sip::eq_ignore_case(name, b"pub-gruu") || sipfed_sip::eq_ignore_case(name, b"temp-gruu")
}

impl TempGruu {
    /// Appends the user part; `nonce` must not have been used with this key by that shard of that node.
    pub(crate) fn write_user(&self, key: &[u8; 32], nonce: u64, (node, shard): (u16, u8), out: &mut Vec<u8>) {
        let mut sealed = [0u8; SEALED_BYTES];
        sealed[..8].copy_from_slice(&nonce.to_le_bytes());
        sealed[8] = shard;
        sealed[9..11].copy_from_slice(&node.to_le_bytes());
        let (head, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (content, tag) = rest.split_at_mut(BOX_BYTES);
        content[..8].copy_from_slice(&self.aor.0.to_le_bytes());
        content[8..16].copy_from_slice(&self.contact_id.to_le_bytes());
        content[16..].copy_from_slice(&self.first_at_s.to_le_bytes());
        let cipher = ChaCha20Poly1305::new(Key::from_slice(key));
        // Sealing fails only for texts of gigabytes.
        if let Ok(made) = cipher.encrypt_in_place_detached(Nonce::from_slice(head), GRUU_PREFIX, content) {
            tag.copy_from_slice(&made);
        }
        out.extend_from_slice(GRUU_PREFIX);
        write_base64(&sealed, out);
    }

    /// Opens a user part; `None` when it is not one of ours.
    pub(crate) fn open(user: &[u8], key: &[u8; 32]) -> Option<Self> {
        let mut sealed = read_base64(user.strip_prefix(GRUU_PREFIX)?)?;
        let (head, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (content, tag) = rest.split_at_mut(BOX_BYTES);
        ChaCha20Poly1305::new(Key::from_slice(key))
            .decrypt_in_place_detached(Nonce::from_slice(head), GRUU_PREFIX, content, Tag::from_slice(tag))
            .ok()?;
        Some(Self {
            aor: AorHash(u64::from_le_bytes(content[..8].try_into().ok()?)),
            contact_id: u64::from_le_bytes(content[8..16].try_into().ok()?),
            first_at_s: u32::from_le_bytes(content[16..].try_into().ok()?),
        })
    }
}

/// The URL-safe alphabet, all of whose characters may stand in a user part (RFC 4648 §5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn write_base64(bytes: &[u8; SEALED_BYTES], out: &mut Vec<u8>) {
    for three in bytes.chunks_exact(3) {
        let n = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        out.extend((0..4).map(|i| ALPHABET[(n >> (18 - 6 * i)) as usize & 63]));
    }
}

fn read_base64(text: &[u8]) -> Option<[u8; SEALED_BYTES]> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let mut bytes = [0u8; SEALED_BYTES];
    for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut n = 0;
        for &c in four {
            n = n << 6 | ALPHABET.iter().position(|&a| a == c)? as u32;
        }
        three.copy_from_slice(&n.to_be_bytes()[1..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5627_temporary_gruus_open_only_whole_and_with_our_key() {
        let gruu = TempGruu { aor: AorHash(1), contact_id: 2, first_at_s: 3 };
        let (mut one, mut other) = (Vec::new(), Vec::new());
        gruu.write_user(&[5; 32], 1, (1, 0), &mut one);
        gruu.write_user(&[5; 32], 1, (2, 0), &mut other);
        assert_ne!(one, other, "two of one binding cannot be linked");
        assert_eq!(TempGruu::open(&one, &[5; 32]), Some(gruu));
        assert_eq!(TempGruu::open(&other, &[5; 32]), Some(gruu));
        assert_eq!(TempGruu::open(&one, &[6; 32]), None);
        for at in 0..one.len() {
            let mut forged = one.clone();
            forged[at] ^= 1;
            assert_eq!(TempGruu::open(&forged, &[5; 32]), None, "byte {at}");
        }
        assert_eq!(TempGruu::open(&one[..one.len() - 1], &[5; 32]), None);
    }
}
