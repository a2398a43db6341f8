//! What is made of each vector: no field that is not ours to change is lost or altered.

use super::{names_in, octets};
use sipfed_sip::compose::{self, Forward, Stamp};
use sipfed_sip::{Fault, Field, HeaderName, Index, Message, scan};

const OUR_VIA: &[u8] = b"Via: SIP/2.0/UDP us.example.com;branch=z9hG4bKus\r\n";

/// Runs `check` on each vector that is a SIP message.
fn each(check: impl Fn(&str, &Message<'_>)) {
    let mut index = Index::new();
    for name in ["rfc4475", "rfc5118", "rfc5118/bare_lf"].into_iter().flat_map(names_in) {
        let bytes = octets(&name);
        if let Ok(message) = scan(&bytes, &mut index) {
            check(&name, &message);
        }
    }
}

/// A field without its line end.
fn text<'a>(field: &Field<'a>) -> &'a [u8] {
    field.line.trim_ascii_end()
}

fn lines<'a>(message: &Message<'a>, wanted: impl Fn(&Field<'a>) -> bool) -> Vec<&'a [u8]> {
    message.all_fields().filter(|field| wanted(field)).map(|field| text(&field)).collect()
}

fn is(name: HeaderName) -> impl Fn(&Field<'_>) -> bool {
    move |field| field.name == name
}

/// RFC 3261 §8.2.6.2: Via, From, Call-ID and CSeq are copied, To gets a tag where it has none. That holds for
/// broken requests too, and what is made of those is sound in its lines.
#[test]
fn rfc3261_8_2_6_2_replies_to_every_vector() {
    each(|name, request| {
        if request.method().is_none() {
            return;
        }
        let mut out = Vec::new();
        compose::reply(&mut out, request, 400, "Bad Request", b"ours", Stamp::default());
        compose::end(&mut out);
        let mut index = Index::new();
        let reply = scan(&out, &mut index).unwrap();
        assert_eq!(reply.fault(), None, "{name}");
        assert_eq!((reply.status(), reply.body()), (Some(400), b"".as_slice()), "{name}");
        assert_eq!(lines(&reply, is(HeaderName::Via)), lines(request, is(HeaderName::Via)), "{name}");
        for field in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            assert_eq!(lines(&reply, is(field)).first(), lines(request, is(field)).first(), "{name}");
        }
        let Some(to) = request.value(HeaderName::To) else { return };
        let tagged = request.address(HeaderName::To).map_or(true, |to| to.tag().is_some());
        let expected = if tagged { to.to_vec() } else { [to, b";tag=ours"].concat() };
        assert_eq!(reply.value(HeaderName::To), Some(expected.as_slice()), "{name}");
    });
}

/// RFC 3261 §16.6: our Via comes first, Max-Forwards changes, all else passes as it came and in its order.
#[test]
fn rfc3261_16_6_forwarding_every_sound_vector() {
    each(|name, request| {
        if request.method().is_none() || request.fault().is_some() {
            return;
        }
        let change = Forward {
            request_uri: b"sip:next.example.com",
            via: OUR_VIA,
            record_route: b"Record-Route: <sip:us.example.com;lr>\r\n",
            routes: b"",
            routes_popped: 0,
            max_forwards: 41,
            max_breadth: None,
            contact: None,
            stamp: Stamp::default(),
            top: None,
        };
        let mut out = Vec::new();
        compose::forward_request(&mut out, request, &change);
        let mut index = Index::new();
        let forwarded = scan(&out, &mut index).unwrap();
        assert_eq!(forwarded.fault(), None, "{name}");
        assert_eq!((forwarded.method(), forwarded.body()), (request.method(), request.body()), "{name}");
        assert_eq!(forwarded.request_uri(), b"sip:next.example.com");
        assert_eq!(forwarded.max_forwards(), Ok(Some(41)), "{name}");

        let mut expected = vec![OUR_VIA.trim_ascii_end()];
        expected.extend(lines(request, is(HeaderName::Via)));
        assert_eq!(lines(&forwarded, is(HeaderName::Via)), expected, "{name}");
        let untouched = |field: &Field<'_>| !matches!(field.name, HeaderName::MaxForwards | HeaderName::RecordRoute);
        let mut expected = lines(request, untouched);
        expected.insert(0, OUR_VIA.trim_ascii_end());
        let mut found = lines(&forwarded, untouched);
        if request.first(HeaderName::ContentLength).is_none() {
            let said = found.pop().unwrap();
            assert_eq!(said, format!("Content-Length: {}", request.body().len()).as_bytes(), "{name}");
        }
        assert_eq!(found, expected, "{name}");
        let mut record_routes = vec![b"Record-Route: <sip:us.example.com;lr>".as_slice()];
        record_routes.extend(lines(request, is(HeaderName::RecordRoute)));
        assert_eq!(lines(&forwarded, is(HeaderName::RecordRoute)), record_routes, "{name}");
    });
}

/// RFC 3261 §18.2.1 and RFC 3581: the stamp changes the topmost Via and nothing behind it.
#[test]
fn rfc3261_18_2_1_the_stamp_keeps_the_other_vias() {
    each(|name, request| {
        if request.method().is_none() || request.top_via().is_err() {
            return;
        }
        let stamp = Stamp { received: Some("2001:db8::77".parse().unwrap()), rport: Some(9) };
        let mut out = Vec::new();
        compose::reply(&mut out, request, 200, "OK", b"ours", stamp);
        compose::end(&mut out);
        let mut index = Index::new();
        let reply = scan(&out, &mut index).unwrap();
        let (before, after) = (request.top_via().unwrap(), reply.top_via().unwrap());
        assert_eq!((after.sent_by, after.branch()), (before.sent_by, before.branch()), "{name}");
        assert_eq!(after.params.value("received"), Some(b"2001:db8::77".as_slice()), "{name}");
        let rport = before.params.has("rport").then_some(b"9".as_slice());
        assert_eq!(after.params.value("rport"), rport, "{name}");
        let behind = |m: &Message<'_>| m.vias().skip(1).map(|v| v.unwrap().raw.to_vec()).collect::<Vec<_>>();
        assert_eq!(behind(&reply), behind(request), "{name}");
    });
}

/// RFC 3261 §16.7 step 3: a response loses its topmost Via value and nothing else.
#[test]
fn rfc3261_16_7_forwarding_every_sound_response() {
    each(|name, response| {
        if response.status().is_none() || response.fault().is_some() {
            return;
        }
        let mut out = Vec::new();
        compose::forward_response(&mut out, response);
        let mut index = Index::new();
        let forwarded = scan(&out, &mut index).unwrap();
        assert_eq!(forwarded.fault(), None, "{name}");
        assert_eq!(forwarded.start_line(), response.start_line(), "{name}");
        assert_eq!(forwarded.body(), response.body(), "{name}");
        let via = |field: &Field<'_>| field.name == HeaderName::Via;
        assert_eq!(lines(&forwarded, via), lines(response, via)[1..], "{name}");
        assert_eq!(lines(&forwarded, |f| !via(f)), lines(response, |f| !via(f)), "{name}");
    });
}

/// RFC 3261 §9.1 and §17.1.1.3: ACK and CANCEL of every sound INVITE are sound, and of its transaction.
#[test]
fn rfc3261_9_1_ack_and_cancel_of_every_sound_vector() {
    each(|name, invite| {
        if invite.method().is_none() || invite.fault().is_some() || invite.top_via().is_err() || invite.cseq().is_err()
        {
            return;
        }
        let (mut ack, mut cancel) = (Vec::new(), Vec::new());
        compose::ack(&mut ack, invite, b"<sip:far@example.com>;tag=far");
        compose::cancel(&mut cancel, invite);
        for (out, method) in [(ack, "ACK"), (cancel, "CANCEL")] {
            let mut index = Index::new();
            let made = scan(&out, &mut index).unwrap();
            assert_eq!((made.fault(), made.body()), (None::<Fault>, b"".as_slice()), "{name}");
            assert_eq!(made.request_uri(), invite.request_uri(), "{name}");
            let (cseq, theirs) = (made.cseq().unwrap(), invite.cseq().unwrap());
            assert_eq!((cseq.number, cseq.method.as_bytes()), (theirs.number, method.as_bytes()), "{name}");
            assert_eq!(made.top_via().unwrap().branch(), invite.top_via().unwrap().branch(), "{name}");
            assert_eq!(made.vias().count(), 1, "{name}");
            assert_eq!(lines(&made, is(HeaderName::From)), lines(invite, is(HeaderName::From)), "{name}");
        }
    });
}
