//! The torture messages of RFC 4475 and RFC 5118 at the level of the grammar: what parses, with which values,
//! and what is a fault of which kind. Each test's name carries the section and the message.

#[path = "torture/application.rs"]
mod application;
#[path = "torture/composed.rs"]
mod composed;
#[path = "torture/invalid.rs"]
mod invalid;
#[path = "torture/ipv6.rs"]
mod ipv6;
#[path = "torture/valid.rs"]
mod valid;

use sipfed_sip::{Address, Contact, Fault, Index, Message, SipUri, Uri, Via, scan};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// The octets of the vector `name`, such as `rfc4475/wsinv`.
fn octets(name: &str) -> Vec<u8> {
    let path = folder(&format!("{name}.dat"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all vectors in `folder_name`, in order.
fn names_in(folder_name: &str) -> Vec<String> {
    let files = fs::read_dir(folder(folder_name)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .map(|path| format!("{folder_name}/{}", path.file_stem().unwrap().to_str().unwrap()))
        .collect();
    names.sort();
    names
}

/// Scans the vector `name`, which must be a SIP message, and hands it on.
fn with(name: &str, check: impl FnOnce(&Message<'_>)) {
    let bytes = octets(name);
    let mut index = Index::new();
    match scan(&bytes, &mut index) {
        Ok(message) => check(&message),
        Err(error) => panic!("{name}: {error}"),
    }
}

/// As [`with`], for a message that the scan finds nothing wrong with.
fn with_sound(name: &str, check: impl FnOnce(&Message<'_>)) {
    with(name, |message| {
        assert_eq!(message.fault(), None, "{name}");
        check(message);
    });
}

/// `text` as a SIP URI.
fn sip(text: &[u8]) -> SipUri<'_> {
    match Uri::parse(text) {
        Ok(Uri::Sip(uri)) => uri,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

fn aor(uri: &SipUri<'_>) -> String {
    let mut out = Vec::new();
    uri.write_aor(&mut out);
    String::from_utf8(out).unwrap()
}

fn vias<'a>(message: &Message<'a>) -> Vec<Via<'a>> {
    message.vias().collect::<Result<_, _>>().unwrap()
}

fn contact_addresses<'a>(message: &Message<'a>) -> Vec<Address<'a>> {
    let address = |contact: Result<Contact<'a>, Fault>| match contact {
        Ok(Contact::At(address)) => address,
        other => panic!("{other:?}"),
    };
    message.contacts().map(address).collect()
}

/// Every vector has a test of its own, so that none is laid aside unnoticed.
#[test]
fn every_vector_has_its_test() {
    let tests = [
        include_str!("torture/application.rs"),
        include_str!("torture/invalid.rs"),
        include_str!("torture/ipv6.rs"),
        include_str!("torture/valid.rs"),
    ]
    .concat();
    let vectors: Vec<String> = ["rfc4475", "rfc5118"].into_iter().flat_map(names_in).collect();
    assert_eq!(vectors.len(), 63);
    for vector in vectors {
        let (rfc, name) = vector.split_once('/').unwrap();
        let end = format!("_{}()", name.replace('-', "_"));
        let found = tests.lines().any(|line| line.starts_with(&format!("fn {rfc}_")) && line.contains(&end));
        assert!(found, "no test named {rfc}_…{end}");
    }
}
