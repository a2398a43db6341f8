//! What to type next to see a registration and a call, for whoever starts a node by hand.

use crate::config::Config;
use sipfed_proto::{Listener, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The highest port that sipsak writes whole; it cuts the last digit off a longer one.
const PORT_MAX: u16 = 9999;

/// Commands for another terminal; `None` when this node takes no request for its loopback address over UDP.
pub(super) fn text(listening: &[Listener], config: &Config) -> Option<String> {
    let node = listening.iter().find_map(loopback)?;
    if !config.cluster.own_addresses_are_domains || node.port() > PORT_MAX {
        return None;
    }
    let ip = node.ip();
    let port = node.port();
    let [phone, caller] = [port.checked_add(10)?, port.checked_add(20)?];
    Some(format!(
        "
To see a registration and a call, type in another terminal:

  # alice registers, from the address of her phone (sipsak warns about other servers than this one)
  sipsak -U -i -S -vv -l {phone} -s sip:alice@{node} -C sip:alice@{ip}:{phone} -x 3600
  # her phone waits in the background for a minute, and a caller rings it
  timeout 60 sipp -sn uas -i {ip} -p {phone} -m 1 </dev/null >/dev/null 2>&1 &
  sipp -sn uac -i {ip} -p {caller} -s alice -m 1 {node}

What the node saw:  kill -USR1 {pid}      Stop it: Ctrl-C
sipsak and sipp are in the packages sipsak and sip-tester.

",
        pid = std::process::id()
    ))
}

/// Where a program on this host reaches the listener over IPv4, if it can.
fn loopback(listener: &Listener) -> Option<SocketAddr> {
    match (listener.transport, listener.addr.ip()) {
        (Transport::Udp, IpAddr::V4(ip)) if ip.is_unspecified() || ip.is_loopback() => {
            let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip };
            Some(SocketAddr::from((ip, listener.addr.port())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(addr: &str) -> Option<String> {
        let listener = Listener { transport: Transport::Udp, addr: addr.parse().unwrap() };
        text(&[listener], &Config::default())
    }

    #[test]
    fn the_commands_name_the_port_that_was_bound() {
        let text = hints("0.0.0.0:5060").unwrap();
        assert!(text.contains("sipp -sn uac -i 127.0.0.1 -p 5080 -s alice -m 1 127.0.0.1:5060\n"), "{text}");
        assert!(hints("127.0.0.1:5070").unwrap().contains("-C sip:alice@127.0.0.1:5080 "));
    }

    #[test]
    fn what_cannot_be_reached_from_here_is_not_advertised() {
        assert_eq!(hints("192.0.2.1:5060"), None);
        assert_eq!(hints("[::]:5060"), None);
        assert_eq!(hints("127.0.0.1:10000"), None);
    }
}
