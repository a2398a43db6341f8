//! The reference of all keys, made from their tables: the file that `sipfed defaults` prints, and the page
//! `docs/configuration.md`.

use super::key::Key;
use super::reader::is_list;
use super::{CLUSTER_KEYS, NODE_KEYS, member, names, nat, ops, policy, tls, tls_domain, ws};
use std::fmt::Write;

/// Sections in the order of the reference, each with its sentence.
const SECTIONS: [(&str, &str); 20] = [
    ("node", "This process: its size and its addresses."),
    ("domains", "What the node is responsible for."),
    ("registrar", "RFC 3261 §10: who may be reached where, and for how long."),
    ("proxy", "RFC 3261 §16: how requests find their phones."),
    (
        nat::SECTION,
        "Phones behind NATs: what tells that one is, and pings that keep the way to it open; see [nat.md](nat.md). OpenSIPS's \
         names stand beside.",
    ),
    (
        policy::SECTION,
        "A rule: this section once for each, in their order. The first keys say which requests it holds for, all of which have to \
         hold; the others what is done with them then, where what a later rule says counts more. Requests of a dialog go their \
         way whatever rules say. See [policy.md](policy.md).",
    ),
    (names::SECTION, "Next hops by name (RFC 3263); see [names.md](names.md)."),
    ("timers", "RFC 3261 §17, table 4. Other values than the RFC's are for networks that were measured."),
    ("udp", "Sockets for datagrams."),
    ("tcp", "Connections, within TLS or not, WebSockets among them."),
    (tls::SECTION, "TLS of phones, at listeners `tls:` and `wss:`, and to peers; see [transports.md](transports.md)."),
    (
        tls_domain::SECTION,
        "A certificate for who names the server that it connects to (SNI): this section once for each certificate beside the default one.",
    ),
    (ws::SECTION, "SIP over WebSocket, at listeners `ws:` and `wss:`; see [transports.md](transports.md)."),
    ("persistence", "How bindings outlive the node: a log of its own for every shard, in one directory."),
    ("directory", "Where nodes publish whose home they are, and find the homes of others."),
    (
        "cluster",
        "Which nodes there are: those of a table in a database, or those that the file names. With it, home and peers of the directory come from there.",
    ),
    (
        member::SECTION,
        "A node of the cluster, where no database has them: this section once for each node, itself among them.",
    ),
    (
        ops::SECTION,
        "The management interface: commands of operators and their tools; see [management.md](management.md).",
    ),
    ("log", "What is written, and how."),
    ("stop", "How the node ends."),
];

/// Columns of a comment in the file.
const COLUMNS: usize = 100;

/// A file that names every key with its default.
pub(crate) fn default_file() -> String {
    let mut file = "# Every key of sipfed with its default. A key may be left out, and so may the file.\n".to_owned();
    for (section, sentence) in SECTIONS {
        // Writing to a string cannot fail, here and below.
        file.push('\n');
        comment(sentence, &mut file);
        if is_list(section) {
            // There is none by default.
            let mut example = String::new();
            lines(section, member::KEYS, &mut example);
            lines(section, policy::KEYS, &mut example);
            lines(section, tls_domain::KEYS, &mut example);
            let _ = writeln!(file, "# [[{section}]]");
            file.extend(example.lines().map(|line| format!("# {}\n", line.trim_start_matches("# "))));
            continue;
        }
        let _ = writeln!(file, "[{section}]");
        for keys in NODE_KEYS {
            lines(section, keys, &mut file);
        }
        for keys in CLUSTER_KEYS {
            lines(section, keys, &mut file);
        }
    }
    file
}

fn lines<C: Default>(section: &str, keys: &[Key<C>], file: &mut String) {
    for key in keys.iter().filter(|key| key.section == section) {
        comment(&format!("{} Form: {}.", key.what, key.form()), file);
        let _ = match key.default_text() {
            Some(default) => writeln!(file, "{} = {default}", key.name),
            None => writeln!(file, "# {} =", key.name),
        };
    }
}

/// Puts `text` on lines that start with `#`.
fn comment(text: &str, file: &mut String) {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count() + 1;
        if column == 0 || column + width > COLUMNS {
            file.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        file.push(' ');
        file.push_str(word);
        column += width;
    }
    file.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

    const INTRODUCTION: &str = "\
# Configuration

`sipfed serve --config FILE` reads one TOML file. Every key is optional: an empty file is the default, and so is
none at all. `sipfed check FILE` says whether a file is valid, and otherwise names the file, line, column and key of
everything that is wrong, with what would be right.

The file is read once, at start; a change takes effect with the next start. The table of a cluster's nodes and the files with
certificates, which stand elsewhere, are read again on SIGHUP. Options of the command line (`--listen`, `--shards`, `--log-format`, `--log-level`)
stand above the file.

The scope of a key is *cluster* where all nodes of a cluster need the same value, and *node* where each has its own.
Times and sizes are whole numbers whose unit ends the name of the key.

`sipfed defaults` prints a file with every key at its default. A small carrier's file may be as short as this:

```toml
[node]
listen = [\"udp:192.0.2.10:5060\", \"tcp:192.0.2.10:5060\"]
advertised_host = \"sip.example.com\"

[domains]
names = [\"example.com\", \"example.net\"]

[registrar]
min_expires_s = 300
overflow = \"evict_oldest\"

[log]
format = \"json\"
```

This page is made from the tables in `src/config/cluster.rs`, `src/config/links.rs`, `src/config/member.rs` and
`src/config/node.rs`;
`UPDATE_REFERENCE=1 cargo test -p sipfed reference` writes it anew.

";

    const CONFLICTS: &str = "\
## What has to agree

- `registrar.min_expires_s` ≤ `registrar.default_expires_s` ≤ `registrar.max_expires_s`
- `timers.t1_ms` ≤ `timers.t2_ms`
- `node.listen` names at least one address, and none of them twice.
- A listener `tls:` or `wss:` needs `tls.certificate`, and that and `tls.key` are given together; so does a `[[tls.domain]]`, and
  no name stands in two of these.
- `tls.client_authorities` is given where `tls.client` is `asked` or `required`, and only there.
- `domains.names` names a domain, or `domains.own_addresses_are_domains` is true.
- A next hop `udp:…` or `tls:…` in `proxy.foreign` needs a listener of its transport and address family in `node.listen`.
- `directory.url` needs `directory.home`, or a cluster that has it.
- The nodes of the cluster stand in a database (`cluster.db_url`) or in the file (`[[cluster.node]]`), and
  `cluster.current_id` is one of those that are enabled.
- `directory.home` and `directory.peers` are left out with a cluster, or say the same as it does.
- `directory.lease_s` is 0, or at least 60.
- `cluster.tls_ca`, `cluster.tls_certificate` and `cluster.tls_key` are given together.
- A node that shares its `sip_addr` with another listens there, or at a wildcard: that is looked at when it starts.
- `ops.listen` is an address of this host alone, or `ops.allow_remote` is true.
";

    const STORES: &str = "\
## The URL of a store

```text
cassandra://[user:password@]host[:port][,host...]/keyspace.table[?option=value&...]
mongodb://[user:password@]host[:port][,host...]/database.collection[?option=value&...]
```

OpenSIPS's form with the name of a group, `cassandra:NAME://...`, is read as well. In a user name or password write
`%40` for @, `%3A` for :, `%2F` for /, `%3F` for ?, `%23` for # and `%25` for %. Neither is ever logged or shown. Names of
keyspaces and tables are lower case, as Cassandra keeps them.

| option of Cassandra | value | default |
| --- | --- | --- |
| `consistency` | `local_quorum`, `quorum`, `each_quorum`, `all`, `one`, `two`, `three` or `local_one` | `local_quorum` |
| `datacenter` | whose servers are asked first; others when none of them answers | any |
| `tls` | `true` or `false` | `false` |
| `ca` | a file with the certificates to trust, in PEM form | the system's |
| `replication` | copies of a keyspace that has to be made: `3`, or `dc1:3,dc2:3` | `1` |

The options of MongoDB are those of its driver, such as `replicaSet`, `authSource`, `tls`, `tlsCAFile` and `w`.

| | Cassandra, `native` | Cassandra, `opensips` | MongoDB, `native` | MongoDB, `opensips` |
| --- | --- | --- | --- | --- |
| key of a row | AoR, home | AoR and home put together, which two rows may share | AoR, a space, home | as in Cassandra |
| found by | the key | an index on `aor` | an index on `aor` | an index on `aor` |
| an older write never undoes a newer one | yes | yes | unless the newer one removed the row | no |
| `directory.lease_s` | yes | yes, and no column shows it | yes | no |
| rows of a node's earlier life can be made void | yes | yes | yes | no |

Beside the table of rows stands a small one with `_epochs` behind its name, but for the last column. Where an index has
to be made for a large table that is in use already, lookups of all nodes may fail until it is built: make it at night.

";

    const DATABASES: &str = "\
## The URL of a database

```text
mysql://[user[:password]@]host[:port]/database[?tls=true[&ca=/path.pem]]
sqlite:///path/file.db
```

MariaDB is named as MySQL is. `%` in a user name or password is written `%25`; what stands behind the last `@` is the
host, which is reached over TCP, also `localhost`. Neither user nor password is ever logged or shown. With `tls=true` the
server has to show a certificate for its name, by an authority of the web or that in `ca`; without it, TLS is used where the
server offers it, and nobody looks at the certificate.

";

    fn rows<C: Default>(section: &str, keys: &[Key<C>], scope: &str, page: &mut String) {
        for key in keys.iter().filter(|key| key.section == section) {
            let default = key.default_text().map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
            // A bar would begin another cell.
            let [form, what] = [&key.form(), key.what].map(|text| text.replace('|', "\\|"));
            writeln!(page, "| `{}` | {form} | {default} | {scope} | {what} |", key.name).unwrap();
        }
    }

    fn page() -> String {
        let mut page = INTRODUCTION.to_owned();
        for (section, sentence) in SECTIONS {
            let header = if is_list(section) { format!("[[{section}]]") } else { format!("[{section}]") };
            write!(page, "## {header}\n\n{sentence}\n\n").unwrap();
            page.push_str("| key | value | default | scope | meaning |\n| --- | --- | --- | --- | --- |\n");
            for keys in NODE_KEYS {
                rows(section, keys, "node", &mut page);
            }
            for keys in CLUSTER_KEYS {
                rows(section, keys, "cluster", &mut page);
            }
            rows(section, member::KEYS, "cluster", &mut page);
            rows(section, policy::KEYS, "cluster", &mut page);
            rows(section, tls_domain::KEYS, "node", &mut page);
            page.push('\n');
        }
        page.push_str(STORES);
        page.push_str(DATABASES);
        page.push_str(CONFLICTS);
        page
    }

    #[test]
    fn the_page_says_what_the_code_does() {
        let page = page();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(PATH, &page).unwrap();
        }
        let written = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(
            written == page,
            "docs/configuration.md is out of date; write it with: UPDATE_REFERENCE=1 cargo test -p sipfed reference"
        );
    }

    #[test]
    fn the_default_file_is_valid_and_is_the_default() {
        let (config, default) = (Config::parse(&default_file()).unwrap(), Config::default());
        assert_eq!(config.cluster, default.cluster);
        assert_eq!(config.settings(), default.settings());
        assert!(default_file().lines().all(|line| line.chars().count() <= COLUMNS || !line.starts_with('#')));
    }

    #[test]
    fn the_example_of_a_node_in_the_default_file_is_valid() {
        let file = default_file();
        let (_, rest) = file.split_once("# [[cluster.node]]\n").unwrap();
        let keys: Vec<&str> = rest.lines().map_while(|line| line.strip_prefix("# ")).collect();
        for key in member::KEYS {
            assert!(keys.iter().any(|line| line.starts_with(&format!("{} =", key.name))), "{}", key.name);
        }
    }

    #[test]
    fn the_example_on_the_page_is_valid() {
        let page = page();
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = Config::parse(example).unwrap();
        assert_eq!(config.cluster.domains, ["example.com", "example.net"]);
    }

    #[test]
    fn every_section_has_its_place_on_the_page() {
        let of_cluster = CLUSTER_KEYS.into_iter().flatten().map(|key| key.section);
        let of_node = NODE_KEYS.into_iter().flatten().map(|key| key.section);
        let sections = of_cluster.chain(of_node);
        for section in sections.chain([member::SECTION, policy::SECTION, tls_domain::SECTION]) {
            assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{section}");
        }
    }
}
