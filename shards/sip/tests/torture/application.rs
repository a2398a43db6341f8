//! RFC 4475 §3.2 to §3.4: messages whose grammar holds and whose meaning is the trouble.

use super::{contact_addresses, sip, vias, with, with_sound};
use sipfed_sip::{Fault, HeaderName, Host, Method, Uri};

/// The branch is the magic cookie and nothing else: visible, so that it is not taken for a transaction's name.
#[test]
fn rfc4475_3_2_1_badbranch() {
    with_sound("rfc4475/badbranch", |m| {
        assert_eq!(m.top_via().unwrap().branch(), Some(b"z9hG4bK".as_slice()));
    });
}

/// Mandatory header fields are missing, each by its name.
#[test]
fn rfc4475_3_3_1_insuf() {
    with_sound("rfc4475/insuf", |m| {
        assert_eq!(m.call_id(), Err(Fault::Missing(HeaderName::CallId)));
        for name in [HeaderName::From, HeaderName::To] {
            assert_eq!(m.address(name), Err(Fault::Missing(name)));
        }
        assert!(m.top_via().is_ok() && m.cseq().is_ok());
        assert_eq!(m.body().len(), 152);
    });
}

/// A scheme that nobody knows is a URI all the same; it is for 416.
#[test]
fn rfc4475_3_3_2_unkscm() {
    with_sound("rfc4475/unkscm", |m| {
        let uri = b"nobodyKnowsThisScheme:totallyopaquecontent".as_slice();
        assert!(matches!(Uri::parse(m.request_uri()), Ok(Uri::Other(found)) if found == uri));
    });
}

/// So is a scheme that is known elsewhere.
#[test]
fn rfc4475_3_3_3_novelsc() {
    with_sound("rfc4475/novelsc", |m| {
        let uri = b"soap.beep://192.0.2.103:3002".as_slice();
        assert!(matches!(Uri::parse(m.request_uri()), Ok(Uri::Other(found)) if found == uri));
    });
}

/// To, From and Contact of other schemes parse; the registrar refuses them.
#[test]
fn rfc4475_3_3_4_unksm2() {
    with_sound("rfc4475/unksm2", |m| {
        let to = m.address(HeaderName::To).unwrap();
        assert!(matches!(to.uri(), Ok(Uri::Other(b"isbn:2983792873"))));
        let from = m.address(HeaderName::From).unwrap();
        assert!(matches!(from.uri(), Ok(Uri::Other(b"http://www.example.com"))));
        assert_eq!(from.tag(), Some(b"3234233".as_slice()));
        assert!(matches!(contact_addresses(m)[0].uri(), Ok(Uri::Other(b"name:John_Smith"))));
    });
}

/// Require is the endpoint's, Proxy-Require the proxy's; both name their option tags.
#[test]
fn rfc4475_3_3_5_bext01() {
    with_sound("rfc4475/bext01", |m| {
        let require: Vec<_> = m.tags(HeaderName::Require).collect();
        assert_eq!(require, [b"nothingSupportsThis".as_slice(), b"nothingSupportsThisEither"]);
        let proxy_require: Vec<_> = m.tags(HeaderName::ProxyRequire).collect();
        assert_eq!(proxy_require, [b"noProxiesSupportThis".as_slice(), b"norDoAnyProxiesSupportThis"]);
        assert!(m.tags(HeaderName::Require).has("NOTHINGsupportsthis"));
        assert!(!m.tags(HeaderName::Supported).has("nothingSupportsThis"));
    });
}

/// A body of unknown type is nothing to a proxy.
#[test]
fn rfc4475_3_3_6_invut() {
    with_sound("rfc4475/invut", |m| {
        assert_eq!(m.value(HeaderName::ContentType), Some(b"application/unknownformat".as_slice()));
        assert_eq!(m.body(), b"<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n");
    });
}

/// An Authorization of unknown scheme is opaque; `Content-Length:0` needs no space.
#[test]
fn rfc4475_3_3_7_regaut01() {
    with_sound("rfc4475/regaut01", |m| {
        assert_eq!((m.method(), m.body()), (Some(Method::Register), b"".as_slice()));
        let opaque = m.all_fields().find(|f| f.line.starts_with(b"Authorization:")).unwrap();
        assert_eq!(
            (opaque.name, opaque.value),
            (HeaderName::Other, b"NoOneKnowsThisScheme opaque-data=here".as_slice())
        );
        assert_eq!(m.contacts().count(), 0, "a query");
    });
}

/// Fields that may stand once stand twice; the first of them is named.
#[test]
fn rfc4475_3_3_8_multi01() {
    with("rfc4475/multi01", |m| {
        assert_eq!(m.fault(), Some(Fault::Repeated(HeaderName::CSeq)));
        for name in [HeaderName::CSeq, HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::MaxForwards] {
            assert_eq!(m.fields(name).count(), 2, "{name}");
        }
        assert_eq!(contact_addresses(m).len(), 2, "Contact may");
    });
}

/// Two Content-Lengths bound no body that could be trusted.
#[test]
fn rfc4475_3_3_9_mcl01() {
    with("rfc4475/mcl01", |m| {
        assert_eq!(m.fault(), Some(Fault::Repeated(HeaderName::ContentLength)));
    });
}

/// The broadcast address in the second Via is visible to whoever would send there.
#[test]
fn rfc4475_3_3_10_bcast() {
    with_sound("rfc4475/bcast", |m| {
        let vias = vias(m);
        assert_eq!(vias.len(), 2);
        let Host::Ip(std::net::IpAddr::V4(ip)) = vias[1].host else { panic!("no IPv4 address") };
        assert!(ip.is_broadcast());
    });
}

/// Max-Forwards 0 is a number like any other.
#[test]
fn rfc4475_3_3_11_zeromf() {
    with_sound("rfc4475/zeromf", |m| assert_eq!(m.max_forwards(), Ok(Some(0))));
}

/// Without brackets a parameter is Contact's and not the URI's.
#[test]
fn rfc4475_3_3_12_cparam01() {
    with_sound("rfc4475/cparam01", |m| {
        let contact = contact_addresses(m)[0];
        assert_eq!(contact.uri, b"sip:+19725552222@gw1.example.net");
        assert!(contact.params.has("unknownparam"));
        assert_eq!(sip(contact.uri).params().count(), 0);
    });
}

/// Within brackets it is the URI's.
#[test]
fn rfc4475_3_3_13_cparam02() {
    with_sound("rfc4475/cparam02", |m| {
        let contact = contact_addresses(m)[0];
        assert_eq!(contact.uri, b"sip:+19725552222@gw1.example.net;unknownparam");
        assert!(!contact.params.has("unknownparam"));
        assert_eq!(sip(contact.uri).param("unknownparam"), Some(b"".as_slice()));
    });
}

/// An escaped header within a Contact's URI is kept with it.
#[test]
fn rfc4475_3_3_14_regescrt() {
    with_sound("rfc4475/regescrt", |m| {
        let contact = contact_addresses(m)[0];
        assert_eq!(contact.uri, b"sip:user@example.com?Route=%3Csip:sip.example.com%3E");
        assert_eq!(sip(contact.uri).headers, b"Route=%3Csip:sip.example.com%3E");
    });
}

/// An Accept that leaves out SDP is nothing to a proxy.
#[test]
fn rfc4475_3_3_15_sdp01() {
    with_sound("rfc4475/sdp01", |m| {
        assert!(m.all_fields().any(|f| f.name == HeaderName::Other && f.value == b"text/nobodyKnowsThis"));
        assert_eq!(m.body().len(), 150);
    });
}

/// RFC 2543 knew neither branch nor From tag nor Max-Forwards; without Content-Length the body is the rest.
#[test]
fn rfc4475_3_4_1_inv2543() {
    with_sound("rfc4475/inv2543", |m| {
        assert_eq!(m.top_via().unwrap().branch(), None);
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!((from.tag(), sip(from.uri).param("user")), (None, Some(b"phone".as_slice())));
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!(
            (to.uri, to.params.value("user")),
            (b"sip:+16505552222@ss1.example.net".as_slice(), Some(b"phone".as_slice()))
        );
        assert_eq!(m.max_forwards(), Ok(None));
        assert_eq!(m.first(HeaderName::ContentLength), None);
        assert!(m.body().starts_with(b"v=0\r\n") && m.body().ends_with(b"m=audio 49217 RTP/AVP 0\r\n"));
        let record_route: Vec<_> = m.addresses(HeaderName::RecordRoute).map(Result::unwrap).collect();
        assert_eq!(sip(record_route[0].uri).param("maddr"), Some(b"ss1.example.com".as_slice()));
    });
}
