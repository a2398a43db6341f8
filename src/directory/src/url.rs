//! The URL of a store: `cassandra://…`, `mongodb://…` or `memory:`.
//!
//! ```text
//! cassandra://[user:password@]host[:port][,host…]/keyspace.table[?option=value&…]
//! mongodb://[user:password@]host[:port][,host…]/database.collection[?what the driver knows]
//! ```
//!
//! OpenSIPS's form with the name of a group, `cassandra:NAME://…`, is read as well. User and password are
//! percent-encoded where they hold one of `@ : / ? # %`. No error and no output of a URL shows them.
//!
//! Options of Cassandra:
//!
//! - `consistency`: `local_quorum` (default), `quorum`, `each_quorum`, `all`, `one`, `two`, `three` or `local_one`
//! - `datacenter`: ask the servers of this one first; others when none of it answers
//! - `tls=true`, and `ca=/path.pem` with the certificates to trust instead of the system's
//! - `replication`, where the keyspace has to be made: a number of copies (default 1), or `dc1:3,dc2:3`
//!
//! For MongoDB all options go to the driver as they are; as usual there, the user is looked for in the database of
//! the URL unless `authSource` names another.

use crate::spelling::nearest;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Port of Cassandra where a URL names none.
const CASSANDRA_PORT: u16 = 9042;
/// Port of MongoDB where a URL names none.
const MONGODB_PORT: u16 = 27017;
/// Cassandra's bound on a name, less what is put behind it for the index and the epochs.
const TABLE_NAME_BYTES_MAX: usize = 48 - "_aor_idx".len();
/// Cassandra's bound on the name of a keyspace.
const KEYSPACE_NAME_BYTES_MAX: usize = 48;

const CASSANDRA_OPTIONS: [&str; 5] = ["consistency", "datacenter", "tls", "ca", "replication"];

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// In this process.
    Memory,
    /// A cluster of Cassandra.
    Cassandra(CassandraUrl),
    /// A deployment of MongoDB.
    MongoDb(MongoDbUrl),
}

/// A table in Cassandra.
#[derive(Clone, PartialEq, Eq)]
pub struct CassandraUrl {
    /// `host:port` each; at least one.
    pub(super) hosts: Vec<String>,
    pub(super) credentials: Option<Credentials>,
    pub(super) keyspace: String,
    pub(super) table: String,
    pub(super) consistency: Level,
    pub(super) datacenter: Option<String>,
    pub(super) tls: bool,
    pub(super) ca: Option<PathBuf>,
    pub(super) replication: Replication,
}

/// A collection in MongoDB.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoDbUrl {
    /// `host:port` each; at least one.
    pub(super) hosts: Vec<String>,
    pub(super) database: String,
    pub(super) collection: String,
    /// The driver's form of the URL, with credentials; not to be shown.
    pub(super) secret: String,
}

/// User and password, in clear.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// How many replicas have to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    One,
    Two,
    Three,
    Quorum,
    All,
    LocalQuorum,
    EachQuorum,
    LocalOne,
}

impl Level {
    const ALL: [(&str, Self); 8] = [
        ("local_quorum", Self::LocalQuorum),
        ("quorum", Self::Quorum),
        ("each_quorum", Self::EachQuorum),
        ("all", Self::All),
        ("one", Self::One),
        ("two", Self::Two),
        ("three", Self::Three),
        ("local_one", Self::LocalOne),
    ];
}

/// How many copies of a keyspace there are, where it has to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replication {
    /// In all, wherever.
    Copies(u8),
    /// In each of these datacenters.
    ByDatacenter(Vec<(String, u8)>),
}

/// Why a URL is none of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {right}")]
pub struct UrlError {
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub right: String,
}

impl UrlError {
    /// `what` is wrong, and `right` would be right.
    pub fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        let forms = "write \"cassandra://HOST:9042/KEYSPACE.TABLE\" or \"mongodb://HOST:27017/DATABASE.COLLECTION\"";
        let Some((scheme, rest)) = text.split_once("://") else {
            // What is no URL may still hold a password, so that it is not repeated.
            return Err(UrlError::new("not the URL of a store", forms));
        };
        let (scheme, group) = scheme.split_once(':').map_or((scheme, ""), |(scheme, group)| (scheme, group));
        if !group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            return Err(UrlError::new("not the URL of a store", forms));
        }
        match scheme {
            "cassandra" => CassandraUrl::parse(rest).map(Self::Cassandra),
            "mongodb" => MongoDbUrl::parse(rest).map(Self::MongoDb),
            "mongodb+srv" => Err(UrlError::new(
                "hosts of a store are not looked up in DNS SRV records",
                "write mongodb:// and the hosts themselves, with commas between them",
            )),
            "memory" => Err(UrlError::new("memory has no host", "write \"memory:\"")),
            other => {
                let known = ["cassandra", "mongodb", "memory"];
                let right = match nearest(other, known.into_iter()) {
                    Some(meant) => format!("did you mean {meant}://? The form is: {forms}"),
                    None => forms.to_owned(),
                };
                Err(UrlError::new("the scheme is not one of a store", right))
            }
        }
    }
}

/// The parts that both kinds have.
struct Parts<'t> {
    /// Percent-encoded, as it stands.
    credentials: Option<&'t str>,
    hosts: Vec<String>,
    /// Before the first dot, and behind it.
    names: (&'t str, &'t str),
    /// Behind `?`; empty for none.
    query: &'t str,
}

impl<'t> Parts<'t> {
    fn parse(rest: &'t str, default_port: u16, names_form: &str) -> Result<Self, UrlError> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        // From here on the parts may be shown: what looks like a torn password has ended above and here.
        if path.contains('@') || path.contains('#') || (credentials.is_none() && rest.contains('@')) {
            return Err(UrlError::new(
                "there is an @ or # behind the host",
                "in a user name or password write %40 for @, %3A for :, %2F for /, %3F for ? and %23 for #",
            ));
        }
        let hosts = hosts.split(',').map(|host| host_and_port(host, default_port)).collect::<Result<_, _>>()?;
        let names = path.strip_prefix('/').unwrap_or_default();
        let Some(names) = names.split_once('.').filter(|(first, last)| !first.is_empty() && !last.is_empty()) else {
            return Err(UrlError::new(
                format!("the URL does not say which {names_form}"),
                format!("write it behind the host, as in /{}", example(names_form)),
            ));
        };
        Ok(Self { credentials, hosts, names, query })
    }
}

fn example(names_form: &str) -> &'static str {
    if names_form.starts_with("keyspace") { "opensips.userlocation" } else { "opensipsDB.userlocation" }
}

/// Puts the port to a host that has none.
pub fn host_and_port(text: &str, default_port: u16) -> Result<String, UrlError> {
    let wrong = |right: &str| UrlError::new("a host of the URL is not one, or its port is none", right);
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            (&text[..address.len() + 2], port)
        }
        Some(_) => return Err(wrong("write an IPv6 address as in [2001:db8::1]:9042")),
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if host.is_empty() || (!host.starts_with('[') && !host.bytes().all(is_name)) {
        return Err(wrong("write names or IP addresses with commas between them; IPv6 in brackets"));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        None => return Err(wrong("write a colon between host and port")),
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong("a port is a number from 1 to 65535")),
        },
    };
    Ok(format!("{host}:{port}"))
}

impl CassandraUrl {
    fn parse(rest: &str) -> Result<Self, UrlError> {
        let parts = Parts::parse(rest, CASSANDRA_PORT, "keyspace and table")?;
        let mut url = Self {
            hosts: parts.hosts,
            credentials: parts.credentials.map(Credentials::parse).transpose()?,
            keyspace: cassandra_name(parts.names.0, KEYSPACE_NAME_BYTES_MAX)?,
            table: cassandra_name(parts.names.1, TABLE_NAME_BYTES_MAX)?,
            consistency: Level::LocalQuorum,
            datacenter: None,
            tls: false,
            ca: None,
            replication: Replication::Copies(1),
        };
        for option in parts.query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            url.set(name, &percent_decoded(value)?)?;
        }
        if url.ca.is_some() && !url.tls {
            return Err(UrlError::new("ca is given without tls", "add tls=true, or remove ca"));
        }
        Ok(url)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        match name {
            "consistency" => {
                let known = || Level::ALL.iter().map(|(word, _)| *word);
                let lower = value.to_ascii_lowercase();
                let Some((_, level)) = Level::ALL.iter().find(|(word, _)| *word == lower) else {
                    let meant = nearest(value, known());
                    return Err(UrlError::new(
                        format!("consistency cannot be \"{value}\""),
                        match meant {
                            Some(meant) => format!("did you mean {meant}?"),
                            None => format!("write one of {}", known().collect::<Vec<_>>().join(", ")),
                        },
                    ));
                };
                self.consistency = *level;
            }
            "datacenter" if !value.is_empty() => self.datacenter = Some(value.to_owned()),
            "tls" if value == "true" || value == "false" => self.tls = value == "true",
            "ca" if value.starts_with('/') => self.ca = Some(value.into()),
            "replication" => self.replication = Replication::parse(value)?,
            "datacenter" => return Err(UrlError::new("datacenter is empty", "name one, or leave the option out")),
            "tls" => return Err(UrlError::new("tls is neither true nor false", "write tls=true")),
            "ca" => {
                return Err(UrlError::new(
                    "ca is no whole path",
                    "write ca=/etc/ssl/cassandra.pem, a file in PEM form",
                ));
            }
            other => {
                let right = match nearest(other, CASSANDRA_OPTIONS.into_iter()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("known are {}", CASSANDRA_OPTIONS.join(", ")),
                };
                return Err(UrlError::new(format!("unknown option {other}"), right));
            }
        }
        Ok(())
    }
}

impl Replication {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let copies = |text: &str| text.parse().ok().filter(|copies| *copies > 0);
        if let Some(copies) = copies(text) {
            return Ok(Self::Copies(copies));
        }
        let by_datacenter: Option<Vec<(String, u8)>> = text
            .split(',')
            .map(|part| {
                let (name, count) = part.rsplit_once(':')?;
                let is_name =
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                Some((name.to_owned(), copies(count).filter(|_| is_name)?))
            })
            .collect();
        by_datacenter.map(Self::ByDatacenter).ok_or_else(|| {
            UrlError::new(
                "replication is neither a number nor a list",
                "write replication=3 or replication=dc1:3,dc2:3",
            )
        })
    }
}

impl Credentials {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { user: percent_decoded(user)?, password: percent_decoded(password)? })
    }
}

/// As Cassandra itself keeps a name that is not quoted: in lower case.
fn cassandra_name(text: &str, bytes_max: usize) -> Result<String, UrlError> {
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= bytes_max;
    if is_name {
        return Ok(text.to_ascii_lowercase());
    }
    Err(UrlError::new(
        format!("\"{text}\" is no name of a keyspace or table"),
        format!("write a letter, and up to {} letters, digits and _ behind it", bytes_max - 1),
    ))
}

/// A user, password or option of a URL as it is meant.
pub fn percent_decoded(text: &str) -> Result<String, UrlError> {
    let wrong = || UrlError::new("a % is not followed by two hex digits of UTF-8", "write %25 for the sign itself");
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let Some((hex, behind)) = rest.split_at_checked(2) else { return Err(wrong()) };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(hex[0]), digit(hex[1])) else { return Err(wrong()) };
        decoded.push((high * 16 + low) as u8);
        rest = behind;
    }
    String::from_utf8(decoded).map_err(|_| wrong())
}

impl MongoDbUrl {
    fn parse(rest: &str) -> Result<Self, UrlError> {
        let parts = Parts::parse(rest, MONGODB_PORT, "database and collection")?;
        let (database, collection) = parts.names;
        if database.len() > 63 || database.contains(['/', '\\', ' ', '"', '$', '\0']) {
            return Err(UrlError::new(
                format!("\"{database}\" is no name of a database"),
                "write up to 63 characters without spaces, slashes, quotes and $",
            ));
        }
        if collection.len() > 120 || collection.contains(['$', '/', '\0']) || collection.starts_with("system.") {
            return Err(UrlError::new(
                format!("\"{collection}\" is no name of a collection"),
                "write up to 120 characters without $ and /, not starting with system.",
            ));
        }
        // A driver reads the path as the database of the user.
        let at = if parts.credentials.is_some() { "@" } else { "" };
        let credentials = parts.credentials.unwrap_or_default();
        let hosts = parts.hosts.join(",");
        let mark = if parts.query.is_empty() { "" } else { "?" };
        let secret = format!("mongodb://{credentials}{at}{hosts}/{database}{mark}{}", parts.query);
        Ok(Self { hosts: parts.hosts, database: database.to_owned(), collection: collection.to_owned(), secret })
    }
}

impl fmt::Display for StoreUrl {
    /// Without user, password and options.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => formatter.write_str("memory:"),
            Self::Cassandra(url) => url.fmt(formatter),
            Self::MongoDb(url) => url.fmt(formatter),
        }
    }
}

impl fmt::Display for CassandraUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, keyspace, table, .. } = self;
        write!(formatter, "cassandra://{}/{keyspace}.{table}", hosts.join(","))
    }
}

impl fmt::Display for MongoDbUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, database, collection, .. } = self;
        write!(formatter, "mongodb://{}/{database}.{collection}", hosts.join(","))
    }
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    )*};
}
debug_as_display!(StoreUrl, CassandraUrl, MongoDbUrl);

#[cfg(test)]
mod tests {
    use super::*;

    fn cassandra(text: &str) -> CassandraUrl {
        match text.parse() {
            Ok(StoreUrl::Cassandra(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn mongodb(text: &str) -> MongoDbUrl {
        match text.parse() {
            Ok(StoreUrl::MongoDb(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn wrong(text: &str) -> UrlError {
        text.parse::<StoreUrl>().expect_err(text)
    }

    #[test]
    fn the_url_of_the_tutorial_is_read() {
        let url = cassandra("cassandra://10.0.0.5:9042/opensips.userlocation");
        assert_eq!((url.hosts.as_slice(), &*url.keyspace), (&["10.0.0.5:9042".to_owned()][..], "opensips"));
        assert_eq!((&*url.table, url.consistency, url.tls), ("userlocation", Level::LocalQuorum, false));
        assert_eq!(url.replication, Replication::Copies(1));
        let url = mongodb("mongodb://10.0.0.5:27017/opensipsDB.userlocation");
        assert_eq!((&*url.database, &*url.collection), ("opensipsDB", "userlocation"));
        assert_eq!(url.secret, "mongodb://10.0.0.5:27017/opensipsDB");
    }

    #[test]
    fn hosts_groups_credentials_and_options_are_read() {
        let url = cassandra(
            "cassandra:group1://sip%3Afed:p%40ss%2Fword@a,b:9043,[2001:db8::1]/Ks.Tab?consistency=ONE&datacenter=dc1&tls=true&ca=/etc/ca.pem&replication=dc1:3,dc-2:2",
        );
        assert_eq!(url.hosts, ["a:9042", "b:9043", "[2001:db8::1]:9042"]);
        let credentials = url.credentials.as_ref().unwrap();
        assert_eq!((&*credentials.user, &*credentials.password), ("sip:fed", "p@ss/word"));
        assert_eq!((&*url.keyspace, &*url.table, url.consistency), ("ks", "tab", Level::One));
        assert_eq!((url.datacenter.as_deref(), url.tls), (Some("dc1"), true));
        assert_eq!(url.ca.as_deref().and_then(|path| path.to_str()), Some("/etc/ca.pem"));
        assert_eq!(url.replication, Replication::ByDatacenter(vec![("dc1".into(), 3), ("dc-2".into(), 2)]));

        let url = mongodb("mongodb:g://u:p@a,b:27018/db.col.lection?replicaSet=rs0&w=majority");
        assert_eq!(url.secret, "mongodb://u:p@a:27017,b:27018/db?replicaSet=rs0&w=majority");
        assert_eq!(url.collection, "col.lection");
        assert_eq!("memory:".parse(), Ok(StoreUrl::Memory));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (text, what, right) in [
            ("10.0.0.5", "not the URL of a store", "cassandra://HOST"),
            ("casandra://h/k.t", "the scheme", "did you mean cassandra://"),
            ("mysql://h/k.t", "the scheme", "mongodb://HOST"),
            ("mongodb+srv://h/k.t", "SRV", "the hosts themselves"),
            ("memory://x", "no host", "\"memory:\""),
            ("cassandra://h:9042/opensips", "which keyspace and table", "/opensips.userlocation"),
            ("mongodb://h", "which database and collection", "/opensipsDB.userlocation"),
            ("cassandra://h:0/k.t", "its port is none", "1 to 65535"),
            ("cassandra://2001:db8::1/k.t", "its port is none", "1 to 65535"),
            ("cassandra://[2001:db8::]1/k.t", "its port is none", "colon between"),
            ("cassandra:///k.t", "a host", "commas"),
            ("cassandra://h/1k.t", "\"1k\" is no name", "write a letter"),
            ("cassandra://h/k.t?consistancy=one", "unknown option consistancy", "did you mean consistency?"),
            ("cassandra://h/k.t?consistency=qourum", "cannot be \"qourum\"", "did you mean quorum?"),
            ("cassandra://h/k.t?ca=/x", "without tls", "tls=true"),
            ("cassandra://h/k.t?ca=x&tls=true", "no whole path", "PEM"),
            ("cassandra://h/k.t?tls=yes", "neither true nor false", "tls=true"),
            ("cassandra://h/k.t?replication=0", "neither a number", "replication=3"),
            ("cassandra://u%4@h/k.t", "two hex digits", "%25"),
        ] {
            let error = wrong(text);
            assert!(error.what.contains(what), "{text}: {error}");
            assert!(error.right.contains(right), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for text in ["cassandra://sesame:opensesame@h/k.t", "mongodb://sesame:opensesame@h/k.t?authSource=admin"] {
            let url: StoreUrl = text.parse().unwrap();
            assert!(!format!("{url} {url:?}").contains("sesame"), "{url}");
        }
        // Also where a password is not encoded and tears the URL apart.
        for password in ["open/sesame", "open?sesame", "open#sesame", "open:sesame", "open@sesame/x", "open%sesame"] {
            for scheme in ["cassandra", "mongodb", "mysql", "cassandra:a b"] {
                for end in ["h/k.t", "h:0/k.t", "h", "h/k.t?tls=x&consistency=y"] {
                    let text = format!("{scheme}://user:{password}@{end}");
                    if let Err(error) = text.parse::<StoreUrl>() {
                        assert!(!error.to_string().contains("sesame"), "{text}: {error}");
                    }
                }
            }
        }
    }
}
