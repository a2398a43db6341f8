//! `sipfed directory show`: where an AoR is at home.

use super::output::{GONE, age, epoch, now_us, time};
use super::rows::Epochs;
use super::{Stop, Target, pages};
use crate::cli::Exit;
use crate::config::sip_address;
use crate::stdout::Output;
use serde::Serialize;
use sipfed_sip::Uri;
use std::net::Ipv6Addr;

#[derive(Debug, Serialize)]
struct AorObject<'a> {
    kind: &'static str,
    aor: &'a str,
    homes: usize,
}

#[derive(Debug, Serialize)]
struct HomeObject<'a> {
    kind: &'static str,
    aor: &'a str,
    home: &'a str,
    /// `null` where the schema does not keep it.
    written_at: Option<String>,
    age_s: Option<i64>,
    is_void: bool,
    is_gone_for_good: bool,
    epoch_at: Option<String>,
    /// `null` without a configuration.
    is_this_node: Option<bool>,
}

pub(super) async fn run(target: &Target, typed: &str, output: &mut Output) -> Result<Exit, Stop> {
    let aor = canonical(typed).map_err(|(what, right)| Stop::Typed(format!("{typed:?}: {what}"), right.to_owned()))?;
    let store = target.connect().await?;
    let epochs = Epochs::new(pages::patiently(async || store.epochs().await).await?);
    let mut rows = pages::patiently(async || store.homes(&aor).await).await?;
    rows.sort_by(|one, other| one.home.cmp(&other.home));
    if target.is_json {
        output.json(&AorObject { kind: "aor", aor: &aor, homes: rows.len() })?;
    } else if rows.is_empty() {
        output.line(format_args!("nobody has published {aor}"))?;
    } else {
        output.line(format_args!("{aor}"))?;
    }
    let width = rows.iter().map(|row| row.home.len()).max().unwrap_or(0);
    for row in &rows {
        let own = |named: &super::Named| {
            let home = sip_address(&row.home).ok();
            home.is_some_and(|home| named.home.is_some_and(|own| own.is_same(home)))
        };
        let is_this_node = target.named.as_ref().map(own);
        let age_s = row.written_at_us.map(|us| (now_us() - us) / 1_000_000);
        let (voided_by, epoch_us) = (epochs.voids(row), epochs.of(&row.home));
        if target.is_json {
            output.json(&HomeObject {
                kind: "home",
                aor: &aor,
                home: &row.home,
                written_at: row.written_at_us.map(time),
                age_s,
                is_void: voided_by.is_some(),
                is_gone_for_good: epoch_us == Some(GONE),
                epoch_at: epoch_us.filter(|us| *us != GONE).map(time),
                is_this_node,
            })?;
            continue;
        }
        let written = match (row.written_at_us, age_s) {
            (Some(us), Some(age_s)) => format!("written {} ago, {}", age(age_s), time(us)),
            _ => "written at a time that this schema does not keep".to_owned(),
        };
        let void = match voided_by {
            None => String::new(),
            Some(GONE) => "; void: its home is gone for good".to_owned(),
            Some(us) => format!("; void: its home's rows count since {}", epoch(Some(us))),
        };
        let this = if is_this_node == Some(true) { "; this node" } else { "" };
        output.line(format_args!("  {:width$}  {written}{void}{this}", row.home.escape_debug().to_string()))?;
    }
    Ok(Exit::Done)
}

/// The AoR that is meant, as a registrar writes it; otherwise what is wrong, and what would be right.
pub(crate) fn canonical(typed: &str) -> Result<String, (&'static str, &'static str)> {
    const RIGHT: &str = "write alice@example.com, or sip:alice@example.com";
    let typed = typed.trim();
    let has_scheme = |scheme: &str| typed.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if has_scheme("tel:") {
        return Err(("a tel URI has no domain", "write the digits and a domain: 12125551234@example.com"));
    }
    let is_uri = has_scheme("sip:") || has_scheme("sips:");
    let uri = if is_uri { typed.to_owned() } else { format!("sip:{typed}") };
    // An AoR has its IPv6 address without brackets, a URI with them.
    let uri = match uri.rsplit_once('@') {
        Some((user, host)) if host.parse::<Ipv6Addr>().is_ok() => format!("{user}@[{host}]"),
        _ => uri,
    };
    let parsed = match Uri::parse(uri.as_bytes()) {
        Ok(Uri::Sip(parsed)) => parsed,
        Ok(_) => return Err(("no address of record", RIGHT)),
        Err(what) => return Err((what, RIGHT)),
    };
    if parsed.user.is_none() {
        return Err(("an address of record has a user", RIGHT));
    }
    // The scheme of another URI would be taken for the user.
    if !is_uri && parsed.password.is_some() {
        return Err(("a colon before the @, and no sip:", RIGHT));
    }
    let mut aor = Vec::new();
    parsed.write_aor(&mut aor);
    // What was parsed is ASCII.
    String::from_utf8(aor).map_err(|_| ("no address of record", RIGHT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aor_may_be_typed_in_many_ways() {
        for typed in [
            "alice@example.com",
            "alice@EXAMPLE.com.",
            "sip:alice@Example.com",
            "SIPS:alice:secret@example.com:5061;transport=tcp",
            "  %61lice@example.com ",
        ] {
            assert_eq!(canonical(typed).unwrap(), "alice@example.com", "{typed}");
        }
        assert_eq!(canonical("a@2001:DB8::1").unwrap(), "a@2001:db8::1");
        assert_eq!(canonical("sip:a@[2001:db8::1]:5060").unwrap(), "a@2001:db8::1");
        assert_eq!(canonical("+1-212@10.0.0.1").unwrap(), "+1-212@10.0.0.1");
    }

    #[test]
    fn what_is_no_aor_is_told_what_is_right() {
        for typed in ["", "example.com", "sip:example.com", "@example.com", "alice@", "a b@example.com", "mailto:a@b"] {
            assert!(canonical(typed).is_err(), "{typed}");
        }
        assert!(canonical("tel:+12125551234").unwrap_err().1.contains("12125551234@example.com"));
    }
}
