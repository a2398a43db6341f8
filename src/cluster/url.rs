//! The URL of a database that has the table of a cluster's nodes.
//!
//! ```text
//! mysql://[user[:password]@]host[:port]/database[?tls=true[&ca=/path.pem]]
//! sqlite:///path/file.db
//! ```
//!
//! As OpenSIPS writes them. User and password are percent-encoded where they hold a `%`; what is behind the last `@` is
//! the host. No error and no output of a URL shows them.

use sipfed_directory::{UrlError, host_and_port, percent_decoded};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Port of MySQL and MariaDB where a URL names none.
const MYSQL_PORT: u16 = 3306;

const FORMS: &str = "write \"mysql://USER:PASSWORD@HOST/DATABASE\" or \"sqlite:///PATH/FILE.db\"";

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SqlUrl {
    /// A server of MySQL or MariaDB.
    MySql(MySqlUrl),
    /// A file of SQLite.
    Sqlite(PathBuf),
}

/// A database of MySQL or MariaDB.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MySqlUrl {
    pub(super) user: String,
    pub(super) password: Option<String>,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    /// Whether the server has to speak TLS and show who it is; otherwise TLS is used where it offers it.
    pub(super) tls: bool,
    pub(super) ca: Option<PathBuf>,
}

impl FromStr for SqlUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(UrlError::new("not the URL of a database", FORMS));
        };
        match scheme {
            "mysql" => match rest.strip_prefix("//") {
                Some(rest) => MySqlUrl::parse(rest).map(Self::MySql),
                None => Err(UrlError::new("not the URL of a database", FORMS)),
            },
            "sqlite" => {
                // sqlite:///path and sqlite:/path are the same.
                let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
                if path.is_absolute() && path.file_name().is_some() {
                    return Ok(Self::Sqlite(path.to_owned()));
                }
                Err(UrlError::new("the path of a SQLite file begins with a slash", "write \"sqlite:///PATH/FILE.db\""))
            }
            "mariadb" => Err(UrlError::new("MariaDB is named as MySQL is", "write mysql:// for mariadb://")),
            _ => Err(UrlError::new("the scheme is not one of a database that is known here", FORMS)),
        }
    }
}

impl MySqlUrl {
    fn parse(rest: &str) -> Result<Self, UrlError> {
        let (credentials, rest) =
            rest.rsplit_once('@').map_or((None, rest), |(credentials, rest)| (Some(credentials), rest));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        if database.is_empty() || database.contains('/') {
            return Err(UrlError::new(
                "the URL does not say which database",
                "write it behind the host, as in /opensips",
            ));
        }
        let host = host_and_port(host, MYSQL_PORT)?;
        // It was put together there, so that it is there.
        let (host, port) = host.rsplit_once(':').unwrap_or((&host, ""));
        let (user, password) = match credentials {
            None => ("opensips".to_owned(), None),
            Some(text) => match text.split_once(':') {
                Some((user, password)) => (percent_decoded(user)?, Some(percent_decoded(password)?)),
                None => (percent_decoded(text)?, None),
            },
        };
        let mut url = Self {
            user,
            password,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().unwrap_or(MYSQL_PORT),
            database: percent_decoded(database)?,
            tls: false,
            ca: None,
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("tls", "true")) => url.tls = true,
                Some(("tls", "false")) => url.tls = false,
                Some(("ca", path)) => url.ca = Some(percent_decoded(path)?.into()),
                _ => {
                    let right = "write tls=true, and ca=/PATH.pem for an authority that the system does not know";
                    return Err(UrlError::new("an option of the URL is not known, or its value is not", right));
                }
            }
        }
        if url.ca.is_some() && !url.tls {
            return Err(UrlError::new("ca is given without tls", "add tls=true, or remove ca"));
        }
        Ok(url)
    }
}

impl fmt::Display for SqlUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(MySqlUrl { host, port, database, .. }) if host.contains(':') => {
                write!(f, "mysql://[{host}]:{port}/{database}")
            }
            Self::MySql(MySqlUrl { host, port, database, .. }) => write!(f, "mysql://{host}:{port}/{database}"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}

impl fmt::Debug for SqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SqlUrl {
        text.parse().unwrap()
    }

    fn mysql(text: &str) -> MySqlUrl {
        match url(text) {
            SqlUrl::MySql(url) => url,
            SqlUrl::Sqlite(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn a_url_is_as_opensips_writes_it() {
        let url = mysql("mysql://opensips:opensipsrw@localhost/opensips");
        assert_eq!((&*url.user, url.password.as_deref()), ("opensips", Some("opensipsrw")));
        assert_eq!((&*url.host, url.port, &*url.database), ("localhost", 3306, "opensips"));
        let url = mysql("mysql://me:p%40:s/s?@[2001:db8::1]:3307/db?tls=true&ca=/etc/ca.pem");
        assert_eq!((url.password.as_deref(), &*url.host, url.port), (Some("p@:s/s?"), "2001:db8::1", 3307));
        assert_eq!((url.tls, url.ca), (true, Some("/etc/ca.pem".into())));
        for text in ["sqlite:///var/lib/opensips.db", "sqlite:/var/lib/opensips.db"] {
            assert_eq!(self::url(text), SqlUrl::Sqlite("/var/lib/opensips.db".into()));
        }
    }

    #[test]
    fn no_text_of_a_url_has_a_password() {
        let url = url("mysql://opensips:sesame@[::1]/opensips");
        assert_eq!(url.to_string(), "mysql://[::1]:3306/opensips");
        assert_eq!(format!("{url:?}"), "mysql://[::1]:3306/opensips");
        for wrong in [
            "mysql://u:sesame@h",
            "mysql://u:sesame@h:0/d",
            "mysql:u:sesame@h/d",
            "u:sesame@h/d",
            "mysql://u:sesame%@h/d",
        ] {
            let error = wrong.parse::<SqlUrl>().unwrap_err();
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (text, what) in [
            ("mysql://localhost", "which database"),
            ("sqlite://clusterer.db", "begins with a slash"),
            ("postgres://h/d", "scheme"),
            ("mariadb://h/d", "MariaDB"),
            ("mysql://h/d?ssl=1", "option"),
            ("mysql://h/d?ca=/a", "without tls"),
        ] {
            let error = text.parse::<SqlUrl>().unwrap_err();
            assert!(error.what.contains(what), "{text}: {error}");
        }
    }
}
