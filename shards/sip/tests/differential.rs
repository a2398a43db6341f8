//! rsip as oracle: another parser, by other people, reads the same of every message that it can read at all.
//!
//! It cannot read all: where it refuses or reads otherwise, the reason is listed and the difference asserted, so that
//! an exception that is no longer needed is noticed.

#[path = "differential/reading.rs"]
mod reading;
#[path = "differential/written.rs"]
mod written;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use reading::{ours, theirs};
use sipfed_sip::{Index, scan};
use std::fs;
use std::path::Path;
use written::meant;

fn config(seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(3261))]

    /// What is meant, what we read and what rsip reads is the same, field by field.
    #[test]
    fn rfc3261_25_plain_messages_are_read_alike(message in meant(false)) {
        let bytes = message.plain();
        prop_assert_eq!(&ours(&bytes), &message.reading());
        let theirs = theirs(&bytes);
        prop_assert!(theirs.is_some(), "{}", bytes.escape_ascii());
        prop_assert_eq!(&ours(&bytes), &theirs.unwrap(), "{}", bytes.escape_ascii());
    }

    /// However a message is written, the same is read: rsip cannot follow, but agreed upon the plain form.
    #[test]
    fn rfc3261_7_3_wild_writing_changes_nothing(message in meant(false), choices in proptest::collection::vec(any::<u8>(), 40)) {
        let wild = message.wild(&choices);
        prop_assert_eq!(&ours(&wild), &ours(&message.plain()), "{}", wild.escape_ascii());
    }

    /// What rsip cannot read is read as it is meant, in both ways of writing.
    #[test]
    fn rfc3261_25_daring_messages_are_read_as_meant(message in meant(true), choices in proptest::collection::vec(any::<u8>(), 40)) {
        prop_assert_eq!(&ours(&message.plain()), &message.reading(), "{}", message.plain().escape_ascii());
        let wild = message.wild(&choices);
        prop_assert_eq!(&ours(&wild), &message.reading(), "{}", wild.escape_ascii());
    }
}

const FOLDS: &str = "folded lines are not supported";
const COMPACT: &str = "compact names are not known";
const DOT: &str = "a dot in the user part makes it part of the host";
const METHOD: &str = "only methods of its own list are known";
const SCHEME: &str = "absolute URIs of other schemes are read as hosts";
const IPV6: &str = "IPv6 references are cut at their first colon";
const SPACED: &str = "white space before the colon is not supported";
const AFTER_URI: &str = "what follows a URI's parameters, or stands in a host, is not looked at";
const NO_END: &str = "Content-Length is not applied: the body is the rest";

/// A vector, what rsip reads otherwise in it (all, when it is empty), and why.
type Exception = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Every sound vector that rsip does not read as we do.
const EXCEPTIONS: &[Exception] = &[
    ("rfc4475/badaspec", &["from"], &[DOT]),
    (
        "rfc4475/baddn_fixed",
        &["start", "from", "to"],
        &[DOT, "an unquoted comma is taken for a part of the display name"],
    ),
    (
        "rfc4475/badinv01",
        &["top_via", "via_count", "to", "contacts"],
        &[DOT, "parameters without names, and Via lists, are passed over"],
    ),
    ("rfc4475/dblreq", &["from", "to", "contacts", "call_id", "body"], &[DOT, COMPACT, NO_END]),
    ("rfc4475/esc01", &[], &[FOLDS]),
    ("rfc4475/esc02", &[], &[METHOD]),
    ("rfc4475/escruri", &[], &["headers of a URI are not supported"]),
    ("rfc4475/intmeth", &[], &[METHOD]),
    ("rfc4475/invut", &["to"], &[DOT]),
    ("rfc4475/longreq", &[], &[SPACED, FOLDS]),
    ("rfc4475/ltgtruri", &["start"], &[AFTER_URI]),
    ("rfc4475/mismatch01", &["to"], &[DOT]),
    ("rfc4475/mismatch02", &[], &[METHOD]),
    ("rfc4475/novelsc", &["start"], &[SCHEME]),
    ("rfc4475/quotbal", &["to"], &["a quote that does not end is taken for a part of the display name", DOT]),
    ("rfc4475/regaut01", &["from", "to"], &[DOT]),
    ("rfc4475/regescrt", &["contacts"], &["headers of a URI are not supported"]),
    ("rfc4475/scalar02", &[], &[FOLDS]),
    ("rfc4475/semiuri", &[], &[FOLDS]),
    ("rfc4475/unkscm", &[], &[SCHEME]),
    ("rfc4475/unksm2", &["from", "to", "contacts"], &[SCHEME]),
    ("rfc4475/wsinv", &[], &[FOLDS, SPACED]),
    ("rfc5118/ipv4-mapped-ipv6", &["top_via", "contacts"], &[IPV6]),
    ("rfc5118/ipv6-bad", &[], &[IPV6]),
    ("rfc5118/ipv6-bug-abnf-3-colons", &[], &[IPV6]),
    ("rfc5118/ipv6-correct-abnf-2-colons", &[], &[IPV6]),
    ("rfc5118/ipv6-good", &[], &[IPV6]),
    ("rfc5118/ipv6-in-sdp", &[], &[IPV6]),
    ("rfc5118/mult-ip-in-header", &["top_via"], &[IPV6]),
    ("rfc5118/mult-ip-in-sdp", &[], &[IPV6]),
    ("rfc5118/port-ambiguous", &[], &[IPV6]),
    ("rfc5118/port-unambiguous", &[], &[IPV6]),
    ("rfc5118/via-received-param-no-delim", &[], &[IPV6]),
    ("rfc5118/via-received-param-with-delim", &[], &[IPV6]),
];

/// Each sound torture message is read alike, but for exactly the fields listed above.
#[test]
fn rfc4475_and_rfc5118_vectors_are_read_alike() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut alike = 0;
    for folder in ["rfc4475", "rfc5118"] {
        for path in fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "dat") {
                continue;
            }
            let name = format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
            let bytes = fs::read(&path).unwrap();
            let mut index = Index::new();
            if !scan(&bytes, &mut index).is_ok_and(|message| message.fault().is_none()) {
                continue;
            }
            let expected = EXCEPTIONS.iter().find(|exception| exception.0 == name).map(|exception| exception.1);
            let found = theirs(&bytes).map(|theirs| ours(&bytes).differences(&theirs));
            match (found.as_deref(), expected) {
                (Some([]), None) => alike += 1,
                (None, Some([])) => {}
                (Some(found), Some(expected)) => assert_eq!(found, expected, "{name}"),
                (found, expected) => panic!("{name}: {found:?} differ where {expected:?} should"),
            }
        }
    }
    assert_eq!(alike, 18, "those that the oracle reads as we do");
    assert!(EXCEPTIONS.iter().all(|exception| !exception.2.is_empty()), "every exception has its reason");
}

/// The reasons that keep generated messages from rsip, each shown by the smallest change that brings it about.
#[test]
fn rsip_still_needs_the_exceptions_made_for_it() {
    let message = |change: &dyn Fn(&str) -> String| {
        change(
            "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
             From: \"Al\" <sip:al@a.example>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n",
        )
    };
    let plain = message(&str::to_owned);
    assert_eq!(theirs(plain.as_bytes()).as_ref(), Some(&ours(plain.as_bytes())));
    let changes: [(&str, &str, &str); 13] = [
        (IPV6, "a.example;branch", "[2001:db8::1];branch"),
        (DOT, "sip:al@", "sip:a.l@"),
        (COMPACT, "To:", "t:"),
        (SPACED, "To:", "To :"),
        (FOLDS, "To:", "To:\r\n"),
        (METHOD, "OPTIONS", "GREET"),
        (NO_END, "\r\n\r\n", "\r\n\r\nnoise"),
        (SCHEME, "<sip:al@a.example>", "<tel:+15550123>"),
        ("an angle bracket in a quoted display name is taken for the URI's", "\"Al\"", "\"A<l\""),
        ("a quoted parameter value is not read", ";tag=1", ";tag=1;x=\"y\""),
        ("values of header parameters are tokens only", ";tag=1", ";tag=1;x=[::1]"),
        ("values of URI parameters are tokens only", "a.example>", "a.example;x=y/z>"),
        ("only transports of its own list are known", "/UDP", "/QUIC"),
    ];
    for (reason, from, to) in changes {
        let changed = message(&|text| text.replace(from, to));
        assert_ne!(theirs(changed.as_bytes()), Some(ours(changed.as_bytes())), "{reason}: no longer so");
    }
}
