//! What outlives the process: the file `ownership.json` in the data directory, replaced as a whole and durable before what it
//! says is in force. One that cannot be read is told, and is as good as none: terms then begin again, and rise above those
//! of the twins once these are heard.

use serde::{Deserialize, Serialize};
use sipfed_nodes::ownership::Kept;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FILE: &str = "ownership.json";
/// While it is being written; the data directory takes what ends so for a leftover.
const STAGED: &str = "ownership.json.new";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    kept: Kept,
}

/// Where it is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Keeps it; durable once this returns without an error.
pub(super) fn keep(directory: &Path, kept: Kept) -> io::Result<()> {
    let staged = directory.join(STAGED);
    let mut text = serde_json::to_vec_pretty(&Document { version: VERSION, kept })?;
    text.push(b'\n');
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(staged, path(directory))?;
    File::open(directory)?.sync_all()
}

/// What was kept last; `None` where nothing ever was, and what is wrong with it otherwise.
pub(super) fn find(directory: &Path) -> Result<Option<Kept>, String> {
    let text = match fs::read(path(directory)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    let Document { version, kept } =
        serde_json::from_slice(&text).map_err(|error| format!("it is damaged: {error}"))?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this release knows version {VERSION}"));
    }
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_what_is_of_no_use_says_why() {
        let folder = std::env::temp_dir().join(format!("sipfed-ownership-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        assert_eq!(find(&folder), Ok(None));
        let kept = Kept { known_term: u64::MAX, own_term: 7, commanded: Some(true) };
        for kept in [Kept::default(), kept] {
            keep(&folder, kept).unwrap();
            assert_eq!(find(&folder), Ok(Some(kept)));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        let text = fs::read_to_string(path(&folder)).unwrap();
        fs::write(path(&folder), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(find(&folder).unwrap_err().contains("is of version 2"));
        fs::write(path(&folder), &text[..text.len() / 2]).unwrap();
        assert!(find(&folder).unwrap_err().contains("is damaged"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(keep(&folder, kept).is_err());
    }
}
