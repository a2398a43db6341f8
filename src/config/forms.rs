//! The forms of text values: listeners, next hops, domains, hosts, route URIs, header text and paths. Those of addresses
//! of nodes are with the nodes ([`sipfed_nodes::address`]).

pub(crate) use sipfed_nodes::address::{BinAddress, SipAddress, bin_address, sip_address};

use super::key::Wrong;
use ipnet::IpNet;
use sipfed_proto::settings::{Foreign, NextHop};
use sipfed_proto::{Listener, Transport};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// `udp:0.0.0.0:5060`, `tcp:[::]:5060`; port 0 lets the kernel choose.
pub(crate) fn listener(text: &str) -> Result<Listener, Wrong> {
    let (transport, addr) = transport_and_address(text)?;
    if addr.ip().is_multicast() {
        return Err(Wrong::new("a multicast address cannot be listened at", "name an address of this host"));
    }
    Ok(Listener { transport, addr })
}

/// As it stands in a file.
pub(crate) fn listener_text(listener: &Listener) -> String {
    format!("{}:{}", listener.transport.uri_token(), listener.addr)
}

/// What becomes of requests for other domains: `refuse`, an address in the form of a listener, or a name.
pub(crate) fn foreign(text: &str) -> Result<Foreign, Wrong> {
    if text == "refuse" {
        return Ok(Foreign::Refuse);
    }
    if let Some(name) = next_hop_name(text) {
        return Ok(Foreign::RelayByName(name));
    }
    if let Some(("udp" | "tcp" | "tls", rest)) = text.split_once(':')
        && rest.parse::<SocketAddr>().is_err()
        && rest.parse::<IpAddr>().is_err()
    {
        let right = "write an IP address with a port, or a name with one or without: \"udp:192.0.2.1:5060\", \
                     \"udp:sip.example.net:5060\", \"tcp:example.net\" or \"sip:example.net\"";
        return Err(Wrong::new("neither an IP address with a port nor a name", right));
    }
    next_hop(text).map(|(transport, addr)| Foreign::Relay(transport, addr))
}

/// As it stands in a file.
pub(crate) fn foreign_text(foreign: &Foreign) -> String {
    match foreign {
        Foreign::Refuse => "refuse".to_owned(),
        Foreign::Relay(transport, addr) => listener_text(&Listener { transport: *transport, addr: *addr }),
        Foreign::RelayByName(NextHop { transport, name, port }) => {
            let scheme = transport.map_or("sip", Transport::uri_token);
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}:{name}{port}")
        }
    }
}

/// `udp:sip.example.net:5060`, `tcp:example.net`, `sip:example.net`; none where it is no such name.
fn next_hop_name(text: &str) -> Option<NextHop> {
    let (scheme, rest) = text.split_once(':')?;
    let transport = match scheme {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        "tls" => Some(Transport::Tls),
        "sip" => None,
        _ => return None,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port != 0)?)),
        None => (rest, None),
    };
    let name = domain(host).ok().filter(|name| name.parse::<IpAddr>().is_err())?;
    Some(NextHop { transport, name: name.into(), port })
}

/// The same form as a listener, for an address to send to.
fn next_hop(text: &str) -> Result<(Transport, SocketAddr), Wrong> {
    let (transport, addr) = transport_and_address(text)?;
    if transport.is_websocket() {
        return Err(Wrong::new("nobody is reached by opening a WebSocket (RFC 7118)", "write udp: or tcp:"));
    }
    if addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast() {
        return Err(Wrong::new(
            "nothing can be sent to this address",
            "name the address and port of one host, such as \"udp:192.0.2.1:5060\"",
        ));
    }
    Ok((transport, addr))
}

fn transport_and_address(text: &str) -> Result<(Transport, SocketAddr), Wrong> {
    let (transport, rest) = match text.split_once(':') {
        Some(("udp", rest)) => (Transport::Udp, rest),
        Some(("tcp", rest)) => (Transport::Tcp, rest),
        Some(("tls", rest)) => (Transport::Tls, rest),
        Some(("ws", rest)) => (Transport::Ws, rest),
        Some(("wss", rest)) => (Transport::Wss, rest),
        Some((other, rest)) if other.chars().all(|c| c.is_ascii_alphabetic()) && !other.is_empty() => {
            let lower = other.to_ascii_lowercase();
            return Err(if Transport::ALL.iter().any(|transport| transport.uri_token() == lower) {
                Wrong::new("the transport is written in lower case", format!("write \"{lower}:{rest}\""))
            } else {
                Wrong::new(format!("{other} is not a transport of this version"), "write udp:, tcp:, tls:, ws: or wss:")
            });
        }
        _ => {
            return Err(Wrong::new("the transport is missing", format!("write \"udp:{text}\" or \"tcp:{text}\"")));
        }
    };
    rest.parse().map(|addr| (transport, addr)).map_err(|_| {
        let token = transport.uri_token();
        let right = match rest.parse::<IpAddr>() {
            Ok(ip) => format!("write \"{token}:{}\"", SocketAddr::new(ip, transport.usual_port())),
            Err(_) => format!(
                "write \"{token}:\" and an IP address with a port: \"{token}:192.0.2.1:5060\" or \"{token}:[2001:db8::1]:5060\"; names are not looked up"
            ),
        };
        Wrong::new("not an IP address with a port", right)
    })
}

/// A domain in lower case, or an IP address without brackets.
pub(crate) fn domain(text: &str) -> Result<String, Wrong> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    for scheme in ["sip:", "sips:"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Err(Wrong::new("a domain, not a URI", format!("write \"{rest}\"")));
        }
    }
    if let Some((_, host)) = text.split_once('@') {
        return Err(Wrong::new("a domain, not an address of record", format!("write \"{host}\"")));
    }
    if let Some((host, port)) = text.split_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Wrong::new("a domain has no port", format!("write \"{host}\"")));
    }
    if let Some(name) = text.strip_suffix('.') {
        return Err(Wrong::new("a domain is written without the last dot", format!("write \"{name}\"")));
    }
    if !text.is_ascii() {
        return Err(Wrong::new(
            "a SIP domain is ASCII (RFC 3261 §25.1)",
            "write an international name as its xn-- form",
        ));
    }
    if is_host_name(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Wrong::new(
            "not a domain name",
            "write labels of letters, digits and hyphens between dots, such as \"example.com\"",
        ))
    }
}

/// A host name, or an IP address; one of IPv6 stands in brackets, as in a URI.
pub(crate) fn host(text: &str) -> Result<String, Wrong> {
    let host = domain(text)?;
    Ok(if host.contains(':') { format!("[{host}]") } else { host })
}

/// RFC 3261 §25.1 `hostname`, with the lengths of RFC 1035 §2.3.4; underscores are met in practice.
fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        // A last label of digits would be an IPv4 address that is none.
        && text.rsplit('.').next().is_some_and(|label| !label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A SIP URI as it stands between `<` and `>`.
pub(crate) fn sip_uri(text: &str) -> Result<String, Wrong> {
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    let right = "write a SIP URI without angle brackets, such as \"sip:edge.example.com;lr\"";
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        return Err(Wrong::new("not a SIP URI", right));
    };
    if text.len() > 255 || rest.bytes().any(|byte| !byte.is_ascii_graphic() || b"<>\",".contains(&byte)) {
        return Err(Wrong::new("a character or a length that a SIP URI cannot have here", right));
    }
    Ok(text.to_owned())
}

/// A network, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, Wrong> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().map(|net| net.trunc()).or(one).map_err(|_| {
        Wrong::new("not a network", "write an address and the length of its prefix, such as \"192.0.2.0/24\"")
    })
}

/// A method that a node may send by itself (RFC 3261 §7.1).
pub(crate) fn method(text: &str) -> Result<String, Wrong> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte);
    let has_transaction_of_its_own = ["INVITE", "ACK", "CANCEL", "REGISTER"].contains(&text);
    if text.is_empty() || text.len() > 32 || !text.as_bytes().iter().all(is_token) || has_transaction_of_its_own {
        return Err(Wrong::new(
            "not a method that a phone may be pinged with",
            "write \"OPTIONS\", which every phone knows, or another one that changes nothing, such as \"INFO\"",
        ));
    }
    Ok(text.to_owned())
}

/// The URI of a route.
pub(crate) fn route_uri(text: &str) -> Result<String, Wrong> {
    let text = sip_uri(text)?;
    if !text.split(';').skip(1).any(|parameter| parameter == "lr") {
        return Err(Wrong::new(
            "a route without lr would make its proxy a strict router (RFC 3261 §16.4)",
            format!("write \"{text};lr\""),
        ));
    }
    Ok(text)
}

/// Where a page comes from, as browsers write it (RFC 6454 §6.2), in lower case.
pub(crate) fn origin(text: &str) -> Result<String, Wrong> {
    let right = "write scheme, host and, where it is not the usual one, port: \"https://phone.example.com\" or \
                 \"https://phone.example.com:8443\"";
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    };
    match text.split_once("://") {
        // What browsers say for a page that is kept apart from all others.
        None if text == "null" => Ok(text.to_owned()),
        Some((scheme, host)) if is_scheme(scheme) && is_host(host) => Ok(text.to_ascii_lowercase()),
        Some((scheme, rest)) if is_scheme(scheme) && rest.split_once('/').is_some_and(|(host, _)| is_host(host)) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            Err(Wrong::new("an origin has no path", format!("write \"{scheme}://{host}\"")))
        }
        _ => Err(Wrong::new("not an origin", right)),
    }
}

/// Text of a header field: printable ASCII on one line.
pub(crate) fn header_text(text: &str) -> Result<String, Wrong> {
    if text.len() <= 64 && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        Ok(text.trim().to_owned())
    } else {
        Err(Wrong::new("not text of a header field", "write up to 64 printable ASCII characters; \"\" for none"))
    }
}

/// The path of a file or a folder.
pub(crate) fn absolute_path(text: &str) -> Result<PathBuf, Wrong> {
    if Path::new(text).is_absolute() {
        Ok(text.into())
    } else {
        Err(Wrong::new("not an absolute path", "begin it with a slash"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_written_alike() {
        for text in
            ["udp:0.0.0.0:5060", "tcp:[::]:5060", "udp:[2001:db8::1]:0", "tls:[::]:5061", "ws:[::]:80", "wss:[::]:443"]
        {
            assert_eq!(listener_text(&listener(text).unwrap()), text);
        }
    }

    #[test]
    fn a_wrong_listener_is_told_what_would_be_right() {
        for (text, right) in [
            ("0.0.0.0:5060", "write \"udp:0.0.0.0:5060\" or \"tcp:0.0.0.0:5060\""),
            ("UDP:0.0.0.0:5060", "write \"udp:0.0.0.0:5060\""),
            ("sctp:0.0.0.0:5060", "write udp:, tcp:, tls:, ws: or wss:"),
            ("TLS:0.0.0.0:5061", "write \"tls:0.0.0.0:5061\""),
            ("tls:192.0.2.1", "write \"tls:192.0.2.1:5061\""),
            ("wss:192.0.2.1", "write \"wss:192.0.2.1:443\""),
            ("udp:192.0.2.1", "write \"udp:192.0.2.1:5060\""),
            ("udp:2001:db8::1", "write \"udp:[2001:db8::1]:5060\""),
            ("udp:239.0.0.1:5060", "name an address of this host"),
        ] {
            assert_eq!(listener(text).unwrap_err().right, right, "{text}");
        }
        assert!(listener("udp:sip.example.com:5060").unwrap_err().right.contains("names are not looked up"));
        assert!(listener("udp:0.0.0.0:65536").is_err());
    }

    #[test]
    fn an_origin_is_what_a_browser_says() {
        for (text, read) in [
            ("https://phone.example.com", "https://phone.example.com"),
            ("HTTPS://Phone.example.com:8443", "https://phone.example.com:8443"),
            ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
        ] {
            assert_eq!(origin(text).unwrap(), read);
        }
        assert_eq!(origin("https://a.example/").unwrap_err().right, "write \"https://a.example\"");
        for text in ["", "phone.example.com", "https://", "https://a b", "*", "://a", "https://a,https://b"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_sent_to_a_wildcard_or_to_port_zero() {
        assert!(next_hop("udp:192.0.2.1:5060").is_ok());
        assert!(next_hop("tls:192.0.2.1:5061").is_ok());
        for text in ["udp:0.0.0.0:5060", "udp:192.0.2.1:0", "tcp:[ff02::1]:5060", "tls:0.0.0.0:5061", "ws:192.0.2.1:80"]
        {
            assert!(next_hop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn requests_for_other_domains_are_relayed_to_an_address_or_a_name() {
        for text in [
            "refuse",
            "udp:192.0.2.1:5060",
            "tcp:[2001:db8::1]:5070",
            "udp:sip.example.net:5070",
            "tcp:example.net",
            "tls:example.net",
            "sip:example.net",
            "sip:example.net:5070",
        ] {
            assert_eq!(foreign_text(&foreign(text).unwrap()), text);
        }
        assert_eq!(foreign("udp:192.0.2.1").unwrap_err().right, "write \"udp:192.0.2.1:5060\"");
        for text in ["udp:a..b", "udp:example.net:0", "udp:example.net:x", "udp:300.1.1.1:5060"] {
            assert!(foreign(text).unwrap_err().right.contains("or a name with one or without"), "{text}");
        }
        for text in ["", "sip:192.0.2.1:5060", "ftp:example.net", "udp:0.0.0.0:5060"] {
            assert!(foreign(text).is_err(), "{text}");
        }
    }

    #[test]
    fn domains_are_lower_case_and_addresses_without_brackets() {
        assert_eq!(domain("Example.COM").unwrap(), "example.com");
        assert_eq!(domain("192.0.2.1").unwrap(), "192.0.2.1");
        assert_eq!(domain("[2001:DB8::1]").unwrap(), "2001:db8::1");
        for (text, right) in [
            ("sip:example.com", "write \"example.com\""),
            ("alice@example.com", "write \"example.com\""),
            ("example.com:5060", "write \"example.com\""),
            ("example.com.", "write \"example.com\""),
        ] {
            assert_eq!(domain(text).unwrap_err().right, right, "{text}");
        }
        for text in ["", "a..b", "-a.com", "1.2.3", "300.1.1.1", "exämple.com", "a b"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_of_ipv6_gets_its_brackets() {
        assert_eq!(host("2001:db8::1").unwrap(), "[2001:db8::1]");
        assert_eq!(host("[2001:db8::1]").unwrap(), "[2001:db8::1]");
        assert_eq!(host("sip.example.com").unwrap(), "sip.example.com");
    }

    #[test]
    fn a_route_is_loose_and_stands_without_brackets() {
        assert!(route_uri("sip:edge.example.com;lr").is_ok());
        assert!(route_uri("sip:edge.example.com;transport=tcp;lr").is_ok());
        assert_eq!(route_uri("sip:edge.example.com").unwrap_err().right, "write \"sip:edge.example.com;lr\"");
        for text in ["<sip:edge.example.com;lr>", "edge.example.com", "sip:", "sip:a b;lr", "sip:a,sip:b;lr"] {
            assert!(route_uri(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_text_cannot_start_another_header() {
        assert_eq!(header_text(" sipfed ").unwrap(), "sipfed");
        assert_eq!(header_text("").unwrap(), "");
        assert!(header_text("a\r\nVia: b").is_err());
        assert!(header_text(&"a".repeat(65)).is_err());
    }
}
