//! How the addresses of nodes are written: for SIP, and for what is between nodes. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The port of SIP where an address names none (RFC 3261 §19.1.2).
const SIP_PORT: u16 = 5060;

/// Where a node of the federation is reached: `192.0.2.1`, `192.0.2.1:5070`, `[2001:db8::1]:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipAddress {
    ip: IpAddr,
    /// `None` where it is not written, which is kept, since homes are published as they are written.
    port: Option<u16>,
}

impl SipAddress {
    /// With its port, be it written or not.
    pub fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(SIP_PORT))
    }

    /// Whether both lead to the same place, however they are written.
    pub fn is_same(self, other: Self) -> bool {
        self.socket_addr() == other.socket_addr()
    }
}

impl fmt::Display for SipAddress {
    /// As in a URI: an IPv6 address stands in brackets, also without a port.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, self.port) {
            (ip, Some(port)) => SocketAddr::new(ip, port).fmt(formatter),
            (IpAddr::V4(ip), None) => ip.fmt(formatter),
            (IpAddr::V6(ip), None) => write!(formatter, "[{ip}]"),
        }
    }
}

/// The address of a node, with a port or without.
pub fn sip_address(text: &str) -> Result<SipAddress, Wrong> {
    let right =
        "write an IP address, with a port where it is not 5060: \"192.0.2.1\", \"192.0.2.1:5070\" or \"[2001:db8::1]\"";
    if let Some((before, address)) = text.split_once(':')
        && ["sip", "sips", "udp", "tcp", "bin"].contains(&before)
    {
        return Err(Wrong::new("an address without a scheme or transport", format!("write \"{address}\"")));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match (text.parse::<SocketAddr>(), bare.parse()) {
        (Ok(addr), _) => SipAddress { ip: addr.ip(), port: Some(addr.port()) },
        (_, Ok(ip)) => SipAddress { ip, port: None },
        _ => return Err(Wrong::new("not an IP address, or one with a port; names are not looked up", right)),
    };
    if address.port == Some(0) || address.ip.is_unspecified() || address.ip.is_multicast() {
        return Err(Wrong::new("nothing can be sent to this address", right));
    }
    Ok(address)
}

/// The port of a node for what is between nodes, where its URL names none; OpenSIPS's for `bin:`.
const BIN_PORT: u16 = 5555;

/// Where a node is reached for what is between nodes: `bin:192.0.2.1`, `bin:[2001:db8::1]:5566`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinAddress {
    addr: SocketAddr,
}

impl BinAddress {
    /// With its port, be it written or not.
    pub fn socket_addr(self) -> SocketAddr {
        self.addr
    }
}

impl fmt::Display for BinAddress {
    /// Without the port where that is the usual one.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = Some(self.addr.port()).filter(|port| *port != BIN_PORT);
        write!(formatter, "bin:{}", SipAddress { ip: self.addr.ip(), port })
    }
}

/// The URL of a node, as OpenSIPS writes it.
pub fn bin_address(text: &str) -> Result<BinAddress, Wrong> {
    let right = "write \"bin:\" and an IP address, with a port where it is not 5555: \"bin:192.0.2.1\" or \
                 \"bin:192.0.2.1:5566\"";
    let Some(rest) = text.strip_prefix("bin:") else {
        return Err(Wrong::new("the URL of a node begins with bin:", right));
    };
    let address = sip_address(rest).map_err(|wrong| Wrong::new(wrong.what, right))?;
    Ok(BinAddress { addr: SocketAddr::new(address.ip, address.port.unwrap_or(BIN_PORT)) })
}

/// Why a text was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong, to stand under the value.
    pub what: String,
    /// What would be right.
    pub right: String,
}

impl Wrong {
    /// Both texts.
    pub fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes_keep_their_form_and_are_compared_by_where_they_lead() {
        for text in ["192.0.2.1", "192.0.2.1:5070", "[2001:db8::1]", "[2001:db8::1]:5060"] {
            assert_eq!(sip_address(text).unwrap().to_string(), text);
        }
        assert_eq!(sip_address("2001:DB8::1").unwrap().to_string(), "[2001:db8::1]");
        let same = |a, b| sip_address(a).unwrap().is_same(sip_address(b).unwrap());
        assert!(same("192.0.2.1", "192.0.2.1:5060"));
        assert!(!same("192.0.2.1", "192.0.2.1:5061"));
        assert_eq!(sip_address("sip:10.5.29.7").unwrap_err().right, "write \"10.5.29.7\"");
        for text in ["", "0.0.0.0", "192.0.2.1:0", "sip.example.com", "[192.0.2.1", "224.0.0.1:5060"] {
            assert!(sip_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_url_of_a_node_has_a_port_of_its_own() {
        let text = |text| bin_address(text).map(|address| address.to_string());
        assert_eq!(text("bin:10.0.0.177").unwrap(), "bin:10.0.0.177");
        assert_eq!(text("bin:10.0.0.177:5555").unwrap(), "bin:10.0.0.177");
        assert_eq!(text("bin:[2001:db8::1]:5566").unwrap(), "bin:[2001:db8::1]:5566");
        assert_eq!(bin_address("bin:10.0.0.177").unwrap().addr.port(), 5555);
        for wrong in ["", "10.0.0.177", "bin:", "bin:sip.example.com", "bin:10.0.0.1:0", "tcp:10.0.0.1", "bin:0.0.0.0"]
        {
            assert!(text(wrong).unwrap_err().right.contains("\"bin:192.0.2.1\""), "{wrong}");
        }
    }
}
