//! The 200 to a REGISTER (RFC 3261 §10.3 step 8).

use super::gruu::TempGruu;
use crate::location::{AorKey, Binding, Record};
use crate::outbox::{Outbox, Ticket};
use crate::request::Request;
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::HeaderName;
use sipfed_sip::compose;

impl Core {
    /// Answers with every binding the AoR has now.
    pub(super) fn reply_registered(&mut self, request: &Request<'_>, key: AorKey<'_>, now: Now, out: &mut Outbox) {
        let tag = self.tag_for(request);
        let record = self.location.find(key).map(|(_, record)| record);
        let (mut gruus, mut paths) = (false, false);
        for tag in request.message.tags(HeaderName::Supported) {
            gruus |= sipfed_sip::eq_ignore_case(tag, b"gruu");
            paths |= sipfed_sip::eq_ignore_case(tag, b"path");
        }
        gruus &= self.settings.registrar.gruu;
        let (keys, settings, date) = (&mut self.keys, &self.settings, &mut self.date);
        let shard = self.place.index.0;
        out.push(request.reply_to(), Ticket::NONE, |buffer| {
            let to_tag: &[u8] = if request.is_in_dialog() { b"" } else { &tag };
            compose::reply_to_read(buffer, &request.message, Some(&request.via), 200, "OK", to_tag, request.stamp);
            for binding in record.into_iter().flat_map(Record::bindings).filter(|b| b.is_live(now.unix_s())) {
                write_contact(buffer, &binding, now);
                if gruus && !binding.instance().is_empty() {
                    let gruu =
                        TempGruu { aor: key.hash, contact_id: binding.contact_id(), first_at_s: binding.first_at_s() };
                    write_public_gruu(buffer, key.aor, binding.instance());
                    buffer.extend_from_slice(b";temp-gruu=\"sip:");
                    let nonce = keys.count(now.unix_ms());
                    gruu.write_user(&keys.gruu, nonce, shard, buffer);
                    buffer.push(b'@');
                    write_host(buffer, key.aor);
                    buffer.extend_from_slice(b";gr\"");
                }
                buffer.extend_from_slice(b"\r\n");
            }
            if paths {
                // RFC 3327 §5.3: the UA sees the Path it is reached through.
                for field in request.message.fields(HeaderName::Path) {
                    buffer.extend_from_slice(field.line);
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
fn write_public_gruu(out: &mut Vec<u8>, aor: &[u8], instance: &[u8]) {
    let urn = instance.strip_prefix(b"<").and_then(|urn| urn.strip_suffix(b">")).unwrap_or(instance);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(b);
    if !urn.iter().all(plain) {
        return;
    }
    out.extend_from_slice(b";pub-gruu=\"sip:");
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
