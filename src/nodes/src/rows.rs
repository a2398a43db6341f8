//! Rows of the table `clusterer`, as OpenSIPS has them, and what they mean. Pure.
//!
//! All columns come as text, whatever their types: tables that were made by hand have texts where OpenSIPS's scripts
//! have numbers, and the other way round. NULL, nothing and the text `NULL` mean the same where a column may be empty:
//! OpenSIPS's own tutorial writes the text.

use crate::address::{self, Wrong};
use crate::topology::{CLUSTERS_COUNT_MAX, Fault, Id, Node, Topology};
use std::collections::BTreeSet;

/// Columns that are read, in this order; OpenSIPS's names.
pub const COLUMNS: [&str; 10] =
    ["id", "cluster_id", "node_id", "url", "state", "no_ping_retries", "priority", "sip_addr", "flags", "description"];

/// What OpenSIPS's table gives a row that does not say.
const NO_PING_RETRIES: u32 = 3;
const PRIORITY: u32 = 50;

/// One row: the values of [`COLUMNS`].
pub type Row = [Option<String>; COLUMNS.len()];

/// The topology that the rows of a table give for one node; rows of other clusters are passed over.
pub fn topology(rows: &[Row], cluster_id: Id, current_id: Id, table: &str) -> Result<Topology, Vec<Fault>> {
    let source = format!("the table {table}");
    let (mut clusters, mut faults, mut nodes) = (BTreeSet::new(), Vec::new(), Vec::new());
    for row in rows {
        let row = Columns { row, source: &source };
        match row.id_of("cluster_id") {
            Ok(id) => {
                clusters.insert(id);
                if id == cluster_id {
                    match row.node() {
                        Ok(node) => nodes.push(node),
                        Err(more) => faults.extend(more),
                    }
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    if clusters.len() > CLUSTERS_COUNT_MAX {
        let what = format!("{source} has {} clusters", clusters.len());
        faults.push(Fault::new(what, format!("at most {CLUSTERS_COUNT_MAX} can be in a table; remove some")));
    }
    if faults.is_empty() { Topology::new(cluster_id, current_id, nodes, &source) } else { Err(faults) }
}

/// A row with its columns by name.
struct Columns<'a> {
    row: &'a Row,
    source: &'a str,
}

impl Columns<'_> {
    /// The value; `None` for NULL, nothing, and the text `NULL`.
    fn text(&self, column: &str) -> Option<&str> {
        let index = COLUMNS.iter().position(|name| *name == column)?;
        let text = self.row[index].as_deref()?.trim();
        (!text.is_empty() && !text.eq_ignore_ascii_case("null")).then_some(text)
    }

    /// The row's place for people, as they would look for it.
    fn place(&self) -> String {
        let named = |column: &str| self.text(column).map(|text| format!("{column} {text}"));
        let named: Vec<String> = ["id", "cluster_id", "node_id"].into_iter().filter_map(named).collect();
        format!("{}, row with {}", self.source, if named.is_empty() { "no id".to_owned() } else { named.join(", ") })
    }

    fn fault(&self, column: &str, what: &str, right: impl Into<String>) -> Fault {
        let found = self.text(column).map_or_else(|| "is empty".to_owned(), |text| format!("cannot be '{text}'"));
        let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
        Fault::new(format!("{}: {column} {found}{what}", self.place()), right)
    }

    fn id_of(&self, column: &str) -> Result<Id, Fault> {
        let id = self.text(column).and_then(|text| text.parse().ok());
        id.ok_or_else(|| self.fault(column, "", format!("write a number from 1 to {}", Id::MAX)))
    }

    fn number(&self, column: &str, default: u32) -> Result<u32, Fault> {
        let Some(text) = self.text(column) else { return Ok(default) };
        text.parse().map_err(|_| self.fault(column, "", format!("write a whole number; {default} is usual")))
    }

    fn is_enabled(&self) -> Result<bool, Fault> {
        match self.text("state") {
            None | Some("1") => Ok(true),
            Some("0") => Ok(false),
            Some(_) => Err(self.fault("state", "", "write 1 for a node that takes part, or 0 for one that does not")),
        }
    }

    fn is_seed(&self) -> Result<bool, Fault> {
        let mut is_seed = false;
        let flags = self.text("flags").unwrap_or_default();
        for flag in flags.split([',', ';', '|', ' ']).filter(|flag| !flag.is_empty()) {
            if !flag.eq_ignore_ascii_case("seed") {
                return Err(self.fault("flags", "", "write 'seed', or NULL for a node that is none"));
            }
            is_seed = true;
        }
        Ok(is_seed)
    }

    /// Without a default: what is not there is told as well.
    fn form<T>(&self, column: &str, read: impl Fn(&str) -> Result<T, Wrong>) -> Result<T, Fault> {
        read(self.text(column).unwrap_or_default()).map_err(|wrong| {
            let what = if self.text(column).is_some() { &*wrong.what } else { "" };
            // What a file quotes is quoted otherwise in SQL.
            self.fault(column, what, wrong.right.replace('"', "'"))
        })
    }

    /// The node, or all that is wrong with it.
    fn node(&self) -> Result<Node, Vec<Fault>> {
        let mut faults = Vec::new();
        macro_rules! value {
            ($read:expr) => {
                $read.map_err(|fault| faults.push(fault)).ok()
            };
        }
        let id = value!(self.id_of("node_id"));
        let url = value!(self.form("url", address::bin_address));
        let is_enabled = value!(self.is_enabled());
        let no_ping_retries = value!(self.number("no_ping_retries", NO_PING_RETRIES));
        let priority = value!(self.number("priority", PRIORITY));
        let sip_addr = value!(self.form("sip_addr", address::sip_address));
        let is_seed = value!(self.is_seed());
        let description = self.text("description").map(str::to_owned);
        // Only told to people, so one that is no number does no harm.
        let db_id = self.text("id").and_then(|id| id.parse().ok());
        let node = || {
            let (id, url, is_enabled) = (id?, url?, is_enabled?);
            let (no_ping_retries, priority, sip_addr, is_seed) = (no_ping_retries?, priority?, sip_addr?, is_seed?);
            Some(Node { id, url, is_enabled, no_ping_retries, priority, sip_addr, is_seed, description, db_id })
        };
        node().ok_or(faults)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row of the tutorial's form.
    pub(crate) fn row(id: u16, node_id: u16, url: &str, sip_addr: Option<&str>, flags: Option<&str>) -> Row {
        let text = |text: &str| Some(text.to_owned());
        [
            text(&id.to_string()),
            text("1"),
            text(&node_id.to_string()),
            text(url),
            text("1"),
            text("3"),
            text("50"),
            sip_addr.map(str::to_owned),
            flags.map(str::to_owned),
            None,
        ]
    }

    /// Two active nodes, without backups.
    pub(crate) fn pair() -> Vec<Row> {
        vec![
            row(14, 1, "bin:10.0.0.177", Some("10.0.0.177"), Some("seed")),
            row(15, 3, "bin:10.0.0.179", Some("10.0.0.179"), Some("seed")),
        ]
    }

    /// Two active nodes and a backup for each; the flags of the second one are NULL, of the last one the text.
    pub(crate) fn with_backups() -> Vec<Row> {
        vec![
            row(14, 1, "bin:10.0.0.177", Some("10.0.0.223"), Some("seed")),
            row(15, 2, "bin:10.0.0.178", Some("10.0.0.223"), None),
            row(16, 3, "bin:10.0.0.179", Some("10.0.0.224"), Some("seed")),
            row(17, 4, "bin:10.0.0.180", Some("10.0.0.224"), Some("NULL")),
        ]
    }

    pub(crate) fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    fn read(rows: &[Row], current_id: u64) -> Result<Topology, Vec<Fault>> {
        topology(rows, id(1), id(current_id), "clusterer")
    }

    fn only(rows: &[Row]) -> String {
        let faults = read(rows, 1).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].to_string()
    }

    #[test]
    fn a_pair_without_backups_is_read_as_it_stands() {
        let topology = read(&pair(), 3).unwrap();
        assert_eq!(topology.home().to_string(), "10.0.0.179");
        assert_eq!(topology.peers().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.177"]);
        assert_eq!(topology.backups(topology.current()).count(), 0);
        assert!(topology.nodes().iter().all(|node| node.is_seed && node.is_enabled));
        let mut rows = pair();
        rows[1][0] = Some("fifteen".to_owned());
        let db_ids: Vec<_> = read(&rows, 3).unwrap().nodes().iter().map(|node| node.db_id).collect();
        assert_eq!(db_ids, [Some(14), None]);
    }

    #[test]
    fn nodes_of_one_home_are_backups_of_each_other_and_peers_of_none() {
        for (current, backup, home, peer) in
            [(1, 2, "10.0.0.223", "10.0.0.224"), (2, 1, "10.0.0.223", "10.0.0.224"), (4, 3, "10.0.0.224", "10.0.0.223")]
        {
            let topology = read(&with_backups(), current).unwrap();
            assert_eq!(topology.home().to_string(), home);
            assert_eq!(topology.peers().iter().map(ToString::to_string).collect::<Vec<_>>(), [peer]);
            let backups: Vec<Id> = topology.backups(topology.current()).map(|node| node.id).collect();
            assert_eq!(backups, [id(backup)]);
        }
    }

    #[test]
    fn null_and_the_text_null_are_no_flags() {
        let topology = read(&with_backups(), 1).unwrap();
        let seeds: Vec<bool> = topology.nodes().iter().map(|node| node.is_seed).collect();
        assert_eq!(seeds, [true, false, true, false]);
        let wrong = row(14, 1, "bin:10.0.0.177", Some("10.0.0.177"), Some("sead"));
        assert_eq!(
            only(&[wrong]),
            "the table clusterer, row with id 14, cluster_id 1, node_id 1: flags cannot be 'sead': write 'seed', or NULL \
             for a node that is none"
        );
    }

    #[test]
    fn a_sip_addr_that_is_missing_or_wrong_is_told_with_its_row() {
        for missing in [None, Some(""), Some("NULL")] {
            let mut rows = pair();
            rows[1][7] = missing.map(str::to_owned);
            let told = only(&rows);
            assert!(told.contains("row with id 15, cluster_id 1, node_id 3: sip_addr is empty: write an IP"), "{told}");
        }
        let mut rows = pair();
        rows[0][7] = Some("sip.example.com".to_owned());
        let told = only(&rows);
        assert!(told.contains("sip_addr cannot be 'sip.example.com' (not an IP address"), "{told}");
        assert!(told.contains("'192.0.2.1'"), "{told}");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let mut rows = pair();
        (rows[0][3], rows[0][4], rows[0][5]) = (Some("tcp:10.0.0.1".into()), Some("2".into()), Some("many".into()));
        (rows[1][2], rows[1][6]) = (Some("0".into()), Some("-1".into()));
        let faults = read(&rows, 1).unwrap_err();
        let columns: Vec<bool> = ["url", "state", "no_ping_retries", "node_id", "priority"]
            .iter()
            .map(|column| faults.iter().any(|fault| fault.what.contains(&format!(": {column} cannot be"))))
            .collect();
        assert_eq!((columns, faults.len()), (vec![true; 5], 5), "{faults:?}");
    }

    #[test]
    fn what_a_row_leaves_out_is_what_the_table_would_have_given_it() {
        let mut rows = pair();
        (rows[0][4], rows[0][5], rows[0][6]) = (None, None, None);
        assert_eq!(read(&rows, 3).unwrap(), read(&pair(), 3).unwrap());
    }

    #[test]
    fn rows_of_other_clusters_do_not_matter_but_too_many_clusters_do() {
        let mut rows = pair();
        for cluster in 2..=64 {
            let mut other = row(100 + cluster, 1, "wrong", None, Some("wrong"));
            other[1] = Some(cluster.to_string());
            rows.push(other);
        }
        assert_eq!(read(&rows, 3).unwrap(), read(&pair(), 3).unwrap());
        let mut one_more = row(200, 1, "bin:10.0.0.1", Some("10.0.0.1"), None);
        one_more[1] = Some("65".to_owned());
        rows.push(one_more);
        assert!(only(&rows).starts_with("the table clusterer has 65 clusters"));
    }
}
