//! The secret that hashes, contact ids and GRUUs of a home come from.
//!
//! Nodes that back each other up need the same one, whoever of them was first. It is made from what all nodes of the
//! cluster share, and from the home, by HKDF-SHA256 (RFC 5869), so that nodes of another home cannot foretell it from
//! theirs.

use crate::config::SipAddress;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;

/// What secrets of this use are set apart by from those of any other.
const CONTEXT: &[u8] = b"sipfed hashes of the nodes with one home 1";

/// The secret of a home.
pub(crate) fn of_home(secret: &str, home: SipAddress) -> Result<[u8; 32], Unspecified> {
    let mut out = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT).extract(secret.as_bytes());
    // However it is written.
    let home = home.socket_addr().to_string();
    prk.expand(&[home.as_bytes()], hkdf::HKDF_SHA256)?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sip_address;

    #[test]
    fn a_home_has_one_secret_however_it_is_written() {
        let of = |secret, home| of_home(secret, sip_address(home).unwrap()).unwrap();
        let secret = "b3BlbiBzZXNhbWUgb3BlbiBzZXNhbWUgb3Blbg==";
        assert_eq!(of(secret, "10.0.0.1"), of(secret, "10.0.0.1:5060"));
        assert_ne!(of(secret, "10.0.0.1"), of(secret, "10.0.0.2"));
        assert_ne!(of(secret, "10.0.0.1"), of("another secret of the very same length !", "10.0.0.1"));
    }
}
