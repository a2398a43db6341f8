//! Which shard handles which message.
//!
//! - A response: the shard whose number stands in our branch, or that owns the leaf which stands there.
//! - A REGISTER: the owner of the AoR in To.
//! - A request with a Route to somebody else, or by a Route of ours to an address that is not ours, as inside a
//!   dialog: the shard that received it.
//! - Any other request: the owner of the AoR that its Request-URI names.
//!
//! An ACK for a non-2xx and a CANCEL have the Request-URI and the Routes of their INVITE (RFC 3261 §9.1,
//! §17.1.1.3), so they follow it. What cannot be read stays where it is and is refused there.

use crate::hop::ShardIndex;
use crate::keys::AorHash;
use crate::nat;
use crate::proxy;
use crate::registrar::{GRUU_PREFIX, TempGruu};
use crate::request::Request;
use crate::shard::Core;
use sipfed_sip::{Address, HeaderName, Message, Method, Uri};

/// What a glance at a message has told, for who handles it.
///
/// It spares a message that goes on to another shard its scan here, and the shard that handles it a second look for
/// its AoR; and it lets [`Shard::foresee`](crate::Shard::foresee) fetch what several messages need at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    pub(crate) aor: Option<AorHash>,
}

impl Core {
    /// What a glance at a message tells: the AoR in To of a REGISTER, as the scan would find it.
    pub(crate) fn glance(&mut self, bytes: &[u8]) -> Glance {
        if !bytes.starts_with(b"REGISTER ") {
            return Glance::default();
        }
        let to = sipfed_sip::glance_to(bytes).and_then(|value| Address::parse_only(value).ok());
        Glance { aor: to.and_then(|to| self.hash_of(to.uri)) }
    }

    /// The AoR in To of a REGISTER that was scanned.
    pub(crate) fn aor_of_register(&mut self, message: &Message<'_>) -> Option<AorHash> {
        message.address(HeaderName::To).ok().and_then(|to| self.hash_of(to.uri))
    }

    /// The shard that owns an AoR.
    pub(crate) fn owner_of(&self, aor: AorHash) -> ShardIndex {
        ShardIndex(aor.shard(self.place.count))
    }

    /// The shard that handles `message`.
    pub(crate) fn owner(&mut self, message: &Message<'_>) -> ShardIndex {
        let here = self.place.index;
        if self.place.count == 1 {
            return here;
        }
        let Some(method) = message.method() else {
            let via = message.top_via();
            let branch = via.ok().and_then(|via| via.branch());
            let named = branch.and_then(|branch| {
                let shard = proxy::branch_number(branch).map(|number| number.shard(self.place.count));
                shard.or_else(|| nat::shard_of_ping(branch))
            });
            return named.filter(|shard| shard.0 < self.place.count).unwrap_or(here);
        };
        let hash = if method == Method::Register {
            self.aor_of_register(message)
        } else if message.first(HeaderName::Route).is_some() && !self.is_routed_to_aor(message) {
            None
        } else {
            self.hash_of(message.request_uri())
        };
        hash.map_or(here, |hash| self.owner_of(hash))
    }

    /// Whether a request is a REGISTER that this node answers (RFC 3261 §10.3): it is for a domain of ours, and no Route of
    /// another node comes first. A phone whose outbound proxy is this node says so in a Route (§8.1.2).
    pub(crate) fn is_for_registrar(&self, request: &Request<'_>) -> bool {
        request.method == Method::Register
            && request.uri.sip().is_some_and(|uri| self.is_ours(uri))
            && (request.message.first(HeaderName::Route).is_none() || self.is_routed_to_aor(&request.message))
    }

    /// Whether all Routes are ours and the Request-URI is an AoR of ours: as if there were no Route.
    fn is_routed_to_aor(&self, message: &Message<'_>) -> bool {
        let is_own = |uri: &Uri<'_>| uri.sip().is_some_and(|uri| self.is_self(uri));
        let all_own = message
            .addresses(HeaderName::Route)
            .all(|route| route.is_ok_and(|route| route.uri().is_ok_and(|uri| is_own(&uri))));
        all_own
            && match Uri::parse(message.request_uri()) {
                Ok(Uri::Sip(uri)) => self.is_ours(&uri),
                Ok(Uri::Tel(_)) => true,
                _ => false,
            }
    }

    /// The hash of the AoR that a URI names.
    pub(crate) fn hash_of(&mut self, uri: &[u8]) -> Option<AorHash> {
        let uri = Uri::parse(uri).ok()?;
        let aor = &mut self.scratch.aor;
        aor.clear();
        match &uri {
            Uri::Sip(sip) => {
                if let Some(user) = sip.user.filter(|user| user.starts_with(GRUU_PREFIX))
                    && let Some(gruu) = TempGruu::open(user, &self.keys.gruu)
                {
                    return Some(gruu.aor);
                }
                sip.write_aor(aor);
            }
            Uri::Tel(_) => {
                uri.write_tel_digits(aor);
                aor.push(b'@');
                aor.extend_from_slice(self.settings.domains.first().map_or(&[][..], |d| d.as_bytes()));
            }
            Uri::Other(_) => return None,
        }
        Some(self.keys.aor(aor))
    }
}
