//! The 200 to a REGISTER (RFC 3261 §10.3 step 8).

use super::gruu::TempGruu;
use crate::hop::Destination;
use crate::keys::AorHash;
use crate::location::{Binding, Record, RecordId};
use crate::outbox::Outbox;
use crate::request::after_sips;
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::compose::{self, Stamp};
use sipfed_sip::{HeaderName, Message, Via};

/// A REGISTER that was accepted, as far as its answer follows from it.
pub(super) struct Registered<'a> {
    pub(super) message: &'a Message<'a>,
    /// The topmost Via.
    pub(super) via: &'a Via<'a>,
    /// The request's own number, which becomes the tag of To; `None` where To has one.
    pub(super) number: Option<u64>,
    pub(super) stamp: Stamp,
    /// Where the answer goes.
    pub(super) to: Destination,
    /// Whether it supports GRUUs (RFC 5627 §5.3).
    pub(super) wants_gruu: bool,
    /// Whether it supports Path (RFC 3327 §5.3).
    pub(super) wants_path: bool,
    /// Whether the phone keeps flows (RFC 5626 §6).
    pub(super) outbound: bool,
    /// Its Call-ID and CSeq, where only what it has made itself is told; `None` for all, as RFC 3261 wants it.
    pub(super) only: Option<(&'a [u8], u32)>,
}

impl Core {
    /// Answers with every binding the AoR has now, which are those of `record`.
    pub(super) fn reply_registered(
        &mut self,
        registered: &Registered<'_>,
        aor: AorHash,
        record: Option<RecordId>,
        now: Now,
        out: &mut Outbox,
    ) {
        let record = record.and_then(|id| self.location.get(id));
        let gruus = registered.wants_gruu && self.settings.registrar.gruu;
        let tag = registered.number.map(compose::hexadecimal::<16>);
        let (keys, settings, date) = (&mut self.keys, &self.settings, &mut self.date);
        let writer = (self.settings.node, self.place.index.0);
        out.push_promise(registered.to, |buffer| {
            let tag = tag.as_ref().map_or(&[][..], <[u8; 16]>::as_slice);
            let message = registered.message;
            compose::reply_to_read(buffer, message, Some(registered.via), 200, "OK", tag, registered.stamp);
            let told = |b: &Binding<'_>| {
                b.is_live(now.unix_s()) && registered.only.is_none_or(|own| own == (b.call_id(), b.cseq()))
            };
            for binding in record.into_iter().flat_map(Record::bindings).filter(told) {
                write_contact(buffer, &binding, now);
                if gruus && !binding.instance().is_empty() {
                    let gruu = TempGruu { aor, contact_id: binding.contact_id(), first_at_s: binding.first_at_s() };
                    let aor = record.map_or(&[][..], Record::aor);
                    // RFC 5630 §5.2.1: of the scheme of the Contact.
                    let scheme: &[u8] = if after_sips(binding.uri()).is_some() { b"sips:" } else { b"sip:" };
                    write_public_gruu(buffer, scheme, aor, binding.instance());
                    buffer.extend_from_slice(b";temp-gruu=\"");
                    buffer.extend_from_slice(scheme);
                    let nonce = keys.count(now.unix_ms());
                    gruu.write_user(&keys.gruu, nonce, writer, buffer);
                    buffer.push(b'@');
                    write_host(buffer, aor);
                    buffer.extend_from_slice(b";gr\"");
                }
                buffer.extend_from_slice(b"\r\n");
            }
            if registered.wants_path {
                // RFC 3327 §5.3: the UA sees the Path it is reached through.
                for field in message.fields(HeaderName::Path) {
                    buffer.extend_from_slice(field.line);
                }
            }
            if registered.outbound {
                buffer.extend_from_slice(b"Require: outbound\r\n");
                // §5.4: from who ends the phone's flow, which is us where nobody stands between.
                if settings.registrar.flow_timer_s > 0 && !message.has_second_via(registered.via) {
                    compose::header_number(buffer, "Flow-Timer", settings.registrar.flow_timer_s);
                }
            }
            for route in &settings.registrar.service_route {
                buffer.extend_from_slice(b"Service-Route: <");
                buffer.extend_from_slice(route.as_bytes());
                buffer.extend_from_slice(b">\r\n");
            }
            compose::header(buffer, "Date", date.at(now));
            if !settings.server_header.is_empty() {
                compose::header(buffer, "Server", settings.server_header.as_bytes());
            }
            compose::end(buffer);
        });
        self.counters.sent += 1;
    }
}

/// The binding's Contact without the end of its line.
fn write_contact(out: &mut Vec<u8>, binding: &Binding<'_>, now: Now) {
    out.extend_from_slice(b"Contact: <");
    out.extend_from_slice(binding.uri());
    out.extend_from_slice(b">");
    out.extend_from_slice(binding.params());
    if binding.q_milli() != 1000 {
        out.extend_from_slice(b";q=0.");
        let q = binding.q_milli();
        out.extend([q / 100, q / 10 % 10, q % 10].map(|digit| b'0' + digit as u8));
    }
    let left_ms = (u64::from(binding.expires_at_s()) * 1000).saturating_sub(now.unix_ms());
    out.extend_from_slice(b";expires=");
    compose::number(out, (left_ms / 1000) as u32);
}

/// RFC 5627 §5.3: the AoR with the instance as `gr`. An instance that cannot stand in a URI gets none.
fn write_public_gruu(out: &mut Vec<u8>, scheme: &[u8], aor: &[u8], instance: &[u8]) {
    let urn = instance.strip_prefix(b"<").and_then(|urn| urn.strip_suffix(b">")).unwrap_or(instance);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(b);
    if !urn.iter().all(plain) {
        return;
    }
    out.extend_from_slice(b";pub-gruu=\"");
    out.extend_from_slice(scheme);
    out.extend_from_slice(&aor[..aor.len() - host_of(aor).len()]);
    write_host(out, aor);
    out.extend_from_slice(b";gr=");
    out.extend_from_slice(urn);
    out.push(b'"');
}

fn host_of(aor: &[u8]) -> &[u8] {
    aor.iter().rposition(|&b| b == b'@').map_or(aor, |at| &aor[at + 1..])
}

/// The host of a canonical AoR, an IPv6 address between brackets again.
fn write_host(out: &mut Vec<u8>, aor: &[u8]) {
    let host = host_of(aor);
    if host.contains(&b':') {
        out.push(b'[');
        out.extend_from_slice(host);
        out.push(b']');
    } else {
        out.extend_from_slice(host);
    }
}
