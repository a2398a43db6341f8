//! The manifest: a few lines of TOML that say what stands in a directory.
//!
//! The last line is a CRC-32C of all lines before it. The line with the format comes first and is read before the
//! checksum, since a newer format may have another one.

use super::DirectoryError;
use std::fmt::Write;
use std::path::Path;

/// The format that is written, and the only one that is read. In format 1, bindings had no stamps.
pub(crate) const FORMAT: u64 = 2;

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) created_at_s: u64,
    /// The current set of logs.
    pub(crate) layout: u64,
    pub(crate) shards_count: u32,
    pub(crate) secret_checksum: u32,
}

impl Manifest {
    pub(crate) const FILE: &str = "manifest";

    /// The manifest as it is written.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "format = {FORMAT}\ncreated_at_s = {}\nlayout = {}\nshards = {}\nsecret_checksum = {}\n",
            self.created_at_s, self.layout, self.shards_count, self.secret_checksum
        );
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "checksum = {checksum}");
        text
    }

    /// Reads what [`Manifest::text`] has written to `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, DirectoryError> {
        let damaged = |reason: String| DirectoryError::ManifestDamaged { path: path.to_path_buf(), reason };
        let format = value(text, "format").map_err(damaged)?;
        if format > FORMAT {
            return Err(DirectoryError::NewerFormat { path: path.to_path_buf(), found: format, known: FORMAT });
        }
        if format < FORMAT {
            return Err(DirectoryError::OlderFormat { path: path.to_path_buf(), found: format, known: FORMAT });
        }
        let stored = value(text, "checksum").map_err(damaged)?;
        let end = text.rfind("checksum = ").filter(|at| text[..*at].ends_with('\n')).unwrap_or_default();
        let computed = crc32c::crc32c(&text.as_bytes()[..end]);
        if stored != u64::from(computed) {
            return Err(damaged(format!("its checksum is {stored}, and that of its lines {computed}")));
        }
        let narrow = |key| {
            let wide = value(text, key)?;
            u32::try_from(wide).map_err(|_| format!("{key} = {wide} is too large"))
        };
        let manifest = Self {
            created_at_s: value(text, "created_at_s").map_err(damaged)?,
            layout: value(text, "layout").map_err(damaged)?,
            shards_count: narrow("shards").map_err(damaged)?,
            secret_checksum: narrow("secret_checksum").map_err(damaged)?,
        };
        if manifest.text() != text {
            return Err(damaged("it has lines that do not belong to it".to_owned()));
        }
        Ok(manifest)
    }
}

/// The value of the line `key = value`.
fn value(text: &str, key: &str) -> Result<u64, String> {
    let written = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
        .ok_or_else(|| format!("it has no line `{key}`"))?;
    written.parse().map_err(|_| format!("`{key} = {written}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest { created_at_s: 1_750_000_000, layout: 3, shards_count: 2, secret_checksum: u32::MAX }
    }

    fn parse(text: &str) -> Result<Manifest, DirectoryError> {
        Manifest::parse(Path::new("manifest"), text)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        assert_eq!(parse(&manifest().text()).unwrap(), manifest());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let text = manifest().text();
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone().into_bytes();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&String::from_utf8_lossy(&damaged)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_found() {
        let text = manifest().text();
        for end in 0..text.len() {
            assert!(matches!(parse(&text[..end]), Err(DirectoryError::ManifestDamaged { .. })), "{end} bytes");
        }
    }

    #[test]
    fn another_format_is_told_whatever_else_it_says() {
        let found = parse("format = 3\nshards = \"many\"\n");
        assert!(matches!(found, Err(DirectoryError::NewerFormat { found: 3, known: 2, .. })), "{found:?}");
        let found = parse("format = 1\nshards = 2\n");
        assert!(matches!(found, Err(DirectoryError::OlderFormat { found: 1, known: 2, .. })), "{found:?}");
    }
}
