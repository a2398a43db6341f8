//! How the commands write numbers and damage.

use serde::Serialize;
use sipfed_log::{Damage, Lost};

/// A damage as JSON.
#[derive(Debug, Serialize)]
pub(super) struct DamageObject {
    file: String,
    offset_bytes: Option<u64>,
    first_record: Option<u64>,
    /// `null` beside a first record: it and all after it.
    last_record: Option<u64>,
    reason: String,
}

impl From<&Damage> for DamageObject {
    fn from(damage: &Damage) -> Self {
        let Damage { file, offset_bytes, lost, reason } = damage;
        Self {
            file: file.display().to_string(),
            offset_bytes: *offset_bytes,
            first_record: lost.map(|Lost { first, .. }| first.0),
            last_record: lost.and_then(|Lost { last, .. }| last).map(|last| last.0),
            reason: reason.clone(),
        }
    }
}

pub(super) fn damage_objects(damages: &[Damage]) -> Vec<DamageObject> {
    damages.iter().map(DamageObject::from).collect()
}

/// Bytes as a person reads them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} {}", UNITS[0]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_572_864, 5 << 40].map(size);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
    }
}
