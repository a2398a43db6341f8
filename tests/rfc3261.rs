//! What the whole machine makes of the torture messages of RFC 4475 and RFC 5118: which of them it serves, which it
//! passes on untouched, and which it refuses, with which status and a reason that helps an operator.

#[path = "rfc3261/application.rs"]
mod application;
#[path = "rfc3261/invalid.rs"]
mod invalid;
#[path = "rfc3261/ipv6.rs"]
mod ipv6;
#[path = "rfc3261/node.rs"]
mod node;
#[path = "rfc3261/valid.rs"]
mod valid;

/// Every vector has a test of its own, so that none is laid aside unnoticed.
#[test]
fn every_vector_has_its_test() {
    let tests = [
        include_str!("rfc3261/application.rs"),
        include_str!("rfc3261/invalid.rs"),
        include_str!("rfc3261/ipv6.rs"),
        include_str!("rfc3261/valid.rs"),
    ]
    .concat();
    let vectors: Vec<String> = ["rfc4475", "rfc5118"].into_iter().flat_map(node::vectors_in).collect();
    assert_eq!(vectors.len(), 63);
    for vector in vectors {
        let (rfc, name) = vector.split_once('/').unwrap();
        let end = format!("_{}()", name.replace('-', "_"));
        let found = tests.lines().any(|line| line.starts_with(&format!("fn {rfc}_")) && line.contains(&end));
        assert!(found, "no test named {rfc}_…{end}");
    }
}
