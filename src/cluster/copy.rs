//! The copy of what the table of a cluster said last: the file `cluster.json` in the data directory.
//!
//! It is replaced as a whole: written beside, synced, renamed, folder synced. What stands in it is
//! [`sipfed_nodes::copy`]'s; one that is of no use is told, and is as good as none.

use super::{Id, Node, Topology};
use sipfed_nodes::copy::{self, Copied};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FILE: &str = "cluster.json";
/// While it is being written; the data directory takes what ends so for a leftover.
const STAGED: &str = "cluster.json.new";

/// What was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) read_at: SystemTime,
    /// The table and its database, without a password.
    pub(super) source: String,
    pub(super) nodes: Vec<Node>,
}

/// Why there is no copy, or none could be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("there is no copy of them in {0}")]
    None(String),
    #[error("the copy of them is of no use: {0}")]
    Useless(String),
    #[error("no copy of them can be kept at {path}: {source}")]
    Io { path: String, source: io::Error },
}

/// Where it is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Keeps the nodes that `source` has told.
pub(super) fn keep(directory: &Path, source: &str, topology: &Topology, now: SystemTime) -> Result<(), CopyError> {
    let read_at_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let write = || -> io::Result<()> {
        let staged = directory.join(STAGED);
        let text = copy::write(source, topology, read_at_s)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(staged, path(directory))?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| CopyError::Io { path: path(directory).display().to_string(), source })
}

/// What was kept last of this cluster.
pub(super) fn find(directory: &Path, cluster_id: Id) -> Result<Kept, CopyError> {
    let path = path(directory);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CopyError::None(directory.display().to_string()),
        _ => CopyError::Useless(format!("{} cannot be read: {error}", path.display())),
    })?;
    let useless = |why: String| CopyError::Useless(format!("{} {why}", path.display()));
    let Copied { read_at_s, source, nodes } = copy::read(&text, cluster_id).map_err(useless)?;
    Ok(Kept { read_at: UNIX_EPOCH + Duration::from_secs(read_at_s), source, nodes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_nodes::rows::{self, Row};

    fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    /// Two homes of two nodes each; the first of each is a seed.
    fn with_backups() -> Vec<Row> {
        let row = |id: u64, home: u64, flags: Option<&str>| {
            let number = |number: u64| Some(number.to_string());
            let (url, sip_addr) = (Some(format!("bin:10.0.0.{}", 176 + id)), Some(format!("10.0.0.{}", 222 + home)));
            let usual = [number(1), number(3), number(50)];
            let [state, no_ping_retries, priority] = usual;
            let flags = flags.map(str::to_owned);
            [number(13 + id), number(1), number(id), url, state, no_ping_retries, priority, sip_addr, flags, None]
        };
        vec![row(1, 1, Some("seed")), row(2, 1, None), row(3, 2, Some("seed")), row(4, 2, None)]
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sipfed-copy-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_was_kept_comes_back_with_when_and_from_where() {
        let folder = folder("kept");
        let topology = rows::topology(&with_backups(), id(1), id(2), "clusterer").unwrap();
        assert!(matches!(find(&folder, id(1)), Err(CopyError::None(_))));
        let read_at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        keep(&folder, "elsewhere", &topology, UNIX_EPOCH).unwrap();
        keep(&folder, "clusterer at mysql://h:3306/d", &topology, read_at).unwrap();
        let kept = find(&folder, id(1)).unwrap();
        assert_eq!((kept.read_at, &*kept.source), (read_at, "clusterer at mysql://h:3306/d"));
        assert_eq!(kept.nodes, topology.nodes());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_copy_of_an_earlier_release_knows_no_numbers_of_rows() {
        let folder = folder("earlier");
        let topology = rows::topology(&with_backups(), id(1), id(2), "clusterer").unwrap();
        keep(&folder, "s", &topology, SystemTime::now()).unwrap();
        let mut document: serde_json::Value = serde_json::from_slice(&fs::read(path(&folder)).unwrap()).unwrap();
        for node in document["nodes"].as_array_mut().unwrap() {
            assert!(node.as_object_mut().unwrap().remove("id").is_some());
        }
        fs::write(path(&folder), document.to_string()).unwrap();
        let nodes = find(&folder, id(1)).unwrap().nodes;
        assert!(nodes.iter().all(|node| node.db_id.is_none()));
        assert_eq!((nodes.len(), nodes[0].id), (4, id(1)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_copy_that_is_of_no_use_says_why() {
        let folder = folder("useless");
        let topology = rows::topology(&with_backups(), id(1), id(2), "clusterer").unwrap();
        keep(&folder, "s", &topology, SystemTime::now()).unwrap();
        let why = |cluster| find(&folder, id(cluster)).unwrap_err().to_string();
        assert!(why(2).contains("is of cluster 1, and this node is in cluster 2"));
        let text = fs::read_to_string(path(&folder)).unwrap();
        fs::write(path(&folder), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(why(1).contains("is of version 2"));
        fs::write(path(&folder), &text[..text.len() / 2]).unwrap();
        assert!(why(1).contains("is damaged"));
        fs::remove_dir_all(&folder).unwrap();
        let told = keep(&folder, "s", &topology, SystemTime::now()).unwrap_err().to_string();
        assert!(told.starts_with("no copy of them can be kept at "), "{told}");
    }
}
