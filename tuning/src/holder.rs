//! Which process holds an address: the kernel's socket tables name an inode, and the holder has it open.

use crate::listen::{Address, Holder, Protocol};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first process found that holds an address overlapping this one; `None` when it may not be seen.
pub(crate) fn find(address: Address) -> Option<Holder> {
    let tables = match address.protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
            .then(|| Holder {
                pid,
                name: fs::read_to_string(format!("/proc/{pid}/comm"))
                    .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned()),
            })
    })
}

/// The inodes of the sockets in a table of /proc/net that hold an address overlapping `address`.
fn inodes(table: &str, address: Address) -> Vec<u64> {
    const LISTENING: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = parse_address(fields.next()?)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            let holds = address.protocol == Protocol::Udp || state == LISTENING;
            (holds && overlap(local, address.addr)).then_some(inode)
        })
        .collect()
}

/// An IPv6 wildcard counts for IPv4 too: unless told otherwise, the kernel lets it hold both.
fn overlap(held: SocketAddr, wanted: SocketAddr) -> bool {
    held.port() == wanted.port()
        && (held.ip() == wanted.ip()
            || (held.ip().is_unspecified() && (held.is_ipv6() || wanted.is_ipv4()))
            || (wanted.ip().is_unspecified() && held.is_ipv4() == wanted.is_ipv4()))
}

/// Reads `0100007F:13C4`: 32-bit words in the byte order of the machine, then the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = [0u8; 16];
    for (word, place) in octets.chunks_exact_mut(4).enumerate() {
        let Some(hex) = ip.get(word * 8..word * 8 + 8) else { break };
        place.copy_from_slice(&u32::from_str_radix(hex, 16).ok()?.to_ne_bytes());
    }
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        32 => IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   21: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 0
   22: 00000000:13C5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4243 2 0000000000000000 0
";

    fn udp(addr: &str) -> Address {
        Address { protocol: Protocol::Udp, addr: addr.parse().unwrap(), is_virtual: false }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_is_read_and_wildcards_overlap() {
        assert_eq!(inodes(TABLE, udp("127.0.0.1:5060")), [4242]);
        assert_eq!(inodes(TABLE, udp("0.0.0.0:5060")), [4242]);
        assert_eq!(inodes(TABLE, udp("127.0.0.1:5061")), [4243]);
        assert!(inodes(TABLE, udp("127.0.0.2:5060")).is_empty());
        assert!(inodes(TABLE, udp("[::]:5060")).is_empty());
        // Of a stream only the listener counts; state 07 is none.
        assert!(inodes(TABLE, Address { protocol: Protocol::Tcp, ..udp("127.0.0.1:5060") }).is_empty());
    }
}
