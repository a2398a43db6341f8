//! A certificate for servers that phones name (SNI), one `[[tls.domain]]`.

use super::forms;
use super::key::{Key, Kind, Wrong};
use super::tls::PEM_FILE;
use std::path::PathBuf;

/// The section's name in messages and in the reference.
pub(super) const SECTION: &str = "tls.domain";
/// Names that one certificate may be shown for.
const NAMES_COUNT_MAX: usize = 100;
/// Keys that every table has to name, each with an example.
pub(super) const NEEDED: [(&str, &str); 3] = [
    ("names", "[\"sip.example.com\"]"),
    ("certificate", "\"/etc/sipfed/sip.example.com.pem\""),
    ("key", "\"/etc/sipfed/sip.example.com.key\""),
];

/// A certificate, its key, and the names of servers that it is shown for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsDomain {
    /// In lower case; `*.example.com` stands for all names with one more label.
    pub(crate) names: Vec<String>,
    /// The certificate, and behind it those in between.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// What one table has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    names: Vec<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Draft {
    /// The whole of it, if nothing is missing.
    pub(super) fn domain(self) -> Option<TlsDomain> {
        Some(TlsDomain { names: self.names, certificate: self.certificate?, key: self.key? })
    }
}

fn name(text: &str) -> Result<String, Wrong> {
    let (wildcard, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    let name = forms::domain(rest)?;
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err(Wrong::new(
            "an address, which no phone names (RFC 6066 §3)",
            "write a name, such as \"sip.example.com\"",
        ));
    }
    Ok(format!("{wildcard}{name}"))
}

/// Every key of such a table.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key {
        section: SECTION,
        name: "names",
        what: "The names of servers that this certificate is shown for. A wildcard stands for one label; a name stands above it.",
        kind: Kind::List {
            form: "names, such as \"sip.example.com\" or \"*.example.com\"",
            count_max: NAMES_COUNT_MAX,
            get: |draft| draft.names.clone(),
            clear: |draft| draft.names.clear(),
            add: |draft, text| {
                let name = name(text)?;
                if draft.names.contains(&name) {
                    return Err(Wrong::new("this name stands here twice", "remove one of the two"));
                }
                draft.names.push(name);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "certificate",
        what: "The certificate, and behind it those of the authorities in between. Read as `tls.certificate` is.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |draft| draft.certificate.as_ref().map(|path| path.display().to_string()),
            set: |draft, text| {
                draft.certificate = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "key",
        what: "Its private key, without a password.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |draft| draft.key.as_ref().map(|path| path.display().to_string()),
            set: |draft, text| {
                draft.key = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
];
