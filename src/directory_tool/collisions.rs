//! Rows of OpenSIPS's schema whose key is also that of another AoR at another home.
//!
//! The key is AoR and home with nothing between them: `u@10.0.0.1` at `12.3.4.5` and `u@10.0.0.11` at `2.3.4.5` share
//! one. Both homes are ends of the key, so that one is the end of the other: where no home of a federation is the end
//! of another one, nothing can collide, and no row has to be looked at.

use sipfed_sip::Uri;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Domains that are remembered: as many as a configuration may name.
const DOMAINS_COUNT_MAX: usize = 1024;

/// The domains of a federation, as far as its rows and a configuration name them.
#[derive(Debug, Default)]
pub(super) struct Domains {
    names: BTreeSet<Box<str>>,
    /// Whether there were too many, so that any may be one.
    is_any: bool,
}

impl Domains {
    pub(super) fn add(&mut self, name: &str) {
        if self.is_any || self.names.contains(name) {
            return;
        }
        self.is_any = self.names.len() >= DOMAINS_COUNT_MAX;
        if !self.is_any {
            self.names.insert(name.into());
        }
    }

    /// Adds the domain of an AoR.
    pub(super) fn add_of(&mut self, aor: &str) {
        if let Some((_, name)) = aor.rsplit_once('@') {
            self.add(name);
        }
    }

    /// Whether a REGISTER could bring this AoR: a user, and a domain that is known or an address, as that of any node.
    fn have(&self, aor: &str) -> bool {
        let Some((user, host)) = aor.rsplit_once('@') else { return false };
        // A host of IPv6 stands without brackets in an AoR.
        let uri = match host.parse() {
            Ok(IpAddr::V6(_)) => format!("sip:{user}@[{host}]"),
            Ok(IpAddr::V4(_)) => format!("sip:{aor}"),
            Err(_) if self.is_any || self.names.contains(host) => format!("sip:{aor}"),
            Err(_) => return false,
        };
        let Ok(Uri::Sip(uri)) = Uri::parse(uri.as_bytes()) else { return false };
        let mut canonical = Vec::new();
        uri.write_aor(&mut canonical);
        canonical == aor.as_bytes()
    }
}

/// For each home that can collide, the other homes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rivals<'h>(BTreeMap<&'h str, Vec<&'h str>>);

impl<'h> Rivals<'h> {
    /// Those among `homes`.
    pub(super) fn new(homes: impl IntoIterator<Item = &'h str>) -> Self {
        // Turned around, the end of a home is its beginning, and those that begin with it come next in order.
        let turned: BTreeMap<String, &str> =
            homes.into_iter().map(|home| (home.chars().rev().collect(), home)).collect();
        let mut rivals: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (end, short) in &turned {
            let longer = turned.range(end.clone()..).skip(1).take_while(|(text, _)| text.starts_with(&**end));
            for (_, long) in longer {
                rivals.entry(short).or_default().push(long);
                rivals.entry(long).or_default().push(short);
            }
        }
        Self(rivals)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What else the key of `aor` at `home` may mean: AoRs at other homes of the federation.
    pub(super) fn of<'k>(
        &'k self,
        key: &'k str,
        home: &str,
        domains: &'k Domains,
    ) -> impl Iterator<Item = (&'k str, &'h str)> + use<'k, 'h> {
        let rivals = self.0.get(home).map_or(&[][..], Vec::as_slice);
        rivals.iter().filter_map(move |rival| {
            let aor = key.strip_suffix(rival)?;
            domains.have(aor).then_some((aor, *rival))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_collide_of_which_one_is_the_end_of_the_other() {
        assert!(Rivals::new([]).is_empty());
        assert!(Rivals::new(["10.0.0.1", "10.0.0.2", "10.0.0.11", "[2001:db8::1]", "[2001:db8::11]"]).is_empty());
        let rivals = Rivals::new(["2.3.4.5", "12.3.4.5", "112.3.4.5", "12.3.4.5:5060", "9.9.9.9"]);
        assert_eq!(rivals.0.keys().copied().collect::<Vec<_>>(), ["112.3.4.5", "12.3.4.5", "2.3.4.5"]);
        assert_eq!(rivals.0["2.3.4.5"], ["12.3.4.5", "112.3.4.5"]);
        assert_eq!(rivals.0["12.3.4.5"], ["2.3.4.5", "112.3.4.5"]);
    }

    fn domains(names: &[&str]) -> Domains {
        let mut domains = Domains::default();
        for name in names {
            domains.add(name);
        }
        domains
    }

    #[test]
    fn the_other_reading_of_a_key_is_found_from_both_sides() {
        let rivals = Rivals::new(["12.3.4.5", "2.3.4.5"]);
        let domains = domains(&["pop1"]);
        let of = |key, home| rivals.of(key, home, &domains).collect::<Vec<_>>();
        let key = "u@10.0.0.112.3.4.5";
        assert_eq!(of(key, "12.3.4.5"), [("u@10.0.0.11", "2.3.4.5")]);
        assert_eq!(of(key, "2.3.4.5"), [("u@10.0.0.1", "12.3.4.5")]);
        assert_eq!(of(key, "9.9.9.9"), []);
        // A name may end with a digit as well.
        assert_eq!(of("u@pop12.3.4.5", "12.3.4.5"), [("u@pop1", "2.3.4.5")]);
    }

    #[test]
    fn a_reading_that_is_no_aor_of_the_federation_is_no_risk() {
        let rivals = Rivals::new(["12.3.4.5", "2.3.4.5"]);
        let domains = domains(&["example.com"]);
        let of = |key, home| rivals.of(key, home, &domains).count();
        // An address that is none, a name that is nobody's, and nothing with a user.
        assert_eq!(of("u@10.0.0.25512.3.4.5", "12.3.4.5"), 0);
        assert_eq!(of("u@example.com12.3.4.5", "12.3.4.5"), 0);
        assert_eq!(of("example.com12.3.4.5", "12.3.4.5"), 0);
        for aor in ["u@", "@10.0.0.1", "u@Example.com", "u v@10.0.0.1", "u@example.org"] {
            assert!(!domains.have(aor), "{aor}");
        }
        for aor in ["u@2001:db8::1", "u@10.0.0.1", "+1-2@example.com"] {
            assert!(domains.have(aor), "{aor}");
        }
    }

    #[test]
    fn where_there_are_too_many_domains_any_name_may_be_one() {
        let mut domains = Domains::default();
        for number in 0..=DOMAINS_COUNT_MAX {
            assert!(!domains.have("u@example.org"));
            domains.add_of(&format!("u@d{number}.example.com"));
        }
        assert!(domains.have("u@example.org"));
    }
}
