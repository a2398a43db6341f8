//! Until when certificates are valid. In: a chain, and the time. Out: its dates, and words for who has to renew it.

use crate::pem::Unusable;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY_S: i64 = 24 * 3600;

/// The time in which all certificates of a file are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) file: PathBuf,
    begins_at_s: i64,
    ends_at_s: i64,
}

/// How a certificate stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is valid for longer than anybody wants to be warned.
    Valid,
    /// It ends in so many days.
    EndsSoon(i64),
    /// It has ended.
    Expired,
    /// It does not count yet.
    NotYet,
}

impl Validity {
    /// That of a chain, which `file` had.
    pub(super) fn of(file: &Path, chain: &[CertificateDer<'_>]) -> Result<Self, Unusable> {
        let mut validity = Self { file: file.to_owned(), begins_at_s: i64::MIN, ends_at_s: i64::MAX };
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| Unusable {
                what: format!("{} has what is no certificate: {error}", file.display()),
                right: "write certificates in PEM form",
            })?;
            let dates = parsed.validity();
            validity.begins_at_s = validity.begins_at_s.max(dates.not_before.timestamp());
            validity.ends_at_s = validity.ends_at_s.min(dates.not_after.timestamp());
        }
        Ok(validity)
    }

    /// How it stands now, for who wants to be warned so many days before.
    pub(crate) fn standing(&self, warning_days: u32) -> Standing {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.standing_at(now_s, warning_days)
    }

    fn standing_at(&self, now_s: i64, warning_days: u32) -> Standing {
        let left_s = self.ends_at_s.saturating_sub(now_s);
        match () {
            () if left_s < 0 => Standing::Expired,
            () if now_s < self.begins_at_s => Standing::NotYet,
            () if warning_days > 0 && left_s <= i64::from(warning_days) * DAY_S => Standing::EndsSoon(left_s / DAY_S),
            () => Standing::Valid,
        }
    }

    /// When it begins to be valid, as RFC 3339 writes it.
    pub(crate) fn begins_at(&self) -> String {
        sipfed_proto::rfc3339(self.begins_at_s.max(0) as u64)
    }

    /// When it ends, as RFC 3339 writes it.
    pub(crate) fn ends_at(&self) -> String {
        sipfed_proto::rfc3339(self.ends_at_s.max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: i32, to: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["sip.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_chain_is_valid_while_all_of_it_is() {
        let chain = [certificate(2020, 2030), certificate(2010, 2025)];
        let validity = Validity::of(Path::new("/c.pem"), &chain).unwrap();
        assert_eq!(validity.begins_at(), "2020-01-01T00:00:00Z");
        assert_eq!(validity.ends_at(), "2025-01-01T00:00:00Z");
        for (at_s, expected) in [
            (validity.begins_at_s - 1, Standing::NotYet),
            (validity.begins_at_s, Standing::Valid),
            (validity.ends_at_s - 30 * DAY_S - 1, Standing::Valid),
            (validity.ends_at_s - 30 * DAY_S, Standing::EndsSoon(30)),
            (validity.ends_at_s - 1, Standing::EndsSoon(0)),
            (validity.ends_at_s, Standing::EndsSoon(0)),
            (validity.ends_at_s + 1, Standing::Expired),
        ] {
            assert_eq!(validity.standing_at(at_s, 30), expected, "{at_s}");
        }
        assert_eq!(validity.standing_at(validity.ends_at_s - 1, 0), Standing::Valid, "0 days warn of nothing");
    }
}
