//! Whether the host has an address, as the kernel says it through netlink.
//!
//! In: the address. Out: whether it is there, each time that changes. A socket is subscribed to the addresses of the host and
//! then asks for all of them; what the kernel sends is in the order in which it came to be, so that whatever follows the list
//! is newer than it. Where something was lost (the socket's queue was full, the list changed while it was sent) all of it
//! begins anew with another socket, and what was known stays until the new list is complete.
//!
//! An IPv6 address that the kernel still checks for duplicates, or has found to be one, is not there. Of a network on the
//! loopback interface every address is there, as the kernel has it.

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::warn;

/// Groups that tell of addresses that come and go: RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR.
const GROUPS: [u32; 2] = [5, 9];
/// Bytes of one message of the kernel, which fills at most half of that.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// Bytes asked for the socket's queue: some thousands of changes.
const QUEUE_BYTES: i32 = 1 << 20;
/// The pause before a socket that failed is replaced.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// Shortest time between two lines about that.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Where the host has the address: the interface, and the length of the network's prefix.
type Places = BTreeSet<(u32, u8)>;

/// See the module's documentation.
pub(super) struct AddressWatch {
    ip: IpAddr,
    /// What was told last.
    is_there: Option<bool>,
    link: Option<Link>,
    /// When a failure was told last.
    told_at: Option<Instant>,
}

/// A socket, and what it has said so far.
struct Link {
    socket: TokioSocket,
    places: Places,
    /// Whether the list of all addresses has come to its end.
    is_complete: bool,
}

impl AddressWatch {
    pub(super) const fn new(ip: IpAddr) -> Self {
        Self { ip, is_there: None, link: None, told_at: None }
    }

    /// Whether the address is there, once that is known or is otherwise than before. May be dropped and called again.
    pub(super) async fn changed(&mut self) -> bool {
        loop {
            match self.step().await {
                Ok(Some(is_there)) => return is_there,
                Ok(None) => {}
                Err(error) => {
                    self.link = None;
                    if self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
                        self.told_at = Some(Instant::now());
                        warn!(
                            why = error.to_string(),
                            "the kernel did not say which addresses this host has, and is asked anew; a unit with \
                             RestrictAddressFamilies= has to allow AF_NETLINK"
                        );
                    }
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
            }
        }
    }

    /// Takes one message of the kernel, which may hold several; gives what is otherwise since.
    async fn step(&mut self) -> io::Result<Option<bool>> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::open()?),
        };
        let mut bytes = Vec::with_capacity(MESSAGE_BYTES_MAX);
        let from = link.socket.recv_from(&mut bytes).await?;
        // Who may send to the socket but the kernel has every privilege anyway, and means somebody else.
        if from.port_number() == 0 {
            link.take(self.ip, &bytes)?;
        }
        if !link.is_complete {
            return Ok(None);
        }
        let is_there = !link.places.is_empty();
        let is_new = self.is_there.replace(is_there) != Some(is_there);
        Ok(is_new.then_some(is_there))
    }
}

impl Link {
    /// Subscribes, and asks for all addresses.
    fn open() -> io::Result<Self> {
        let mut link = TokioSocket::new(NETLINK_ROUTE)?;
        let socket = link.socket_mut();
        // What is not granted leaves a shorter queue.
        let _ = socket.set_rx_buf_sz(QUEUE_BYTES);
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(all));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(Self { socket: link, places: Places::new(), is_complete: false })
    }

    /// Takes messages in, one behind the other as the kernel packs them.
    fn take(&mut self, ip: IpAddr, mut bytes: &[u8]) -> io::Result<()> {
        while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
            let length = buffer.length() as usize;
            // What this crate does not know is about something else.
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes[..length]) {
                self.take_one(ip, message)?;
            }
            // Each begins at a multiple of four bytes.
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_one(&mut self, ip: IpAddr, message: NetlinkMessage<RouteNetlinkMessage>) -> io::Result<()> {
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::Error::other("addresses changed while the kernel listed them"));
        }
        match message.payload {
            NetlinkPayload::Done(_) => self.is_complete = true,
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Overrun(_) => return Err(io::Error::other("the kernel had more to say than fits")),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) if is_of(ip, &address) => {
                let place = place(&address);
                if is_usable(&address) {
                    self.places.insert(place)
                } else {
                    self.places.remove(&place)
                };
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) if is_of(ip, &address) => {
                self.places.remove(&place(&address));
            }
            _ => {}
        }
        Ok(())
    }
}

fn place(address: &AddressMessage) -> (u32, u8) {
    (address.header.index, address.header.prefix_len)
}

/// Whether the message is about `ip`.
fn is_of(ip: IpAddr, address: &AddressMessage) -> bool {
    let attribute = |of: fn(&AddressAttribute) -> Option<IpAddr>| address.attributes.iter().find_map(of);
    // Of a point-to-point interface the other one is that of the far end.
    let local = attribute(|attribute| match attribute {
        AddressAttribute::Local(local) => Some(*local),
        _ => None,
    });
    let own = local.or_else(|| {
        attribute(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    own.is_some_and(|own| own == ip || is_loopback_of(ip, own, address.header.prefix_len))
}

/// Whether `ip` is in the network of a loopback address.
fn is_loopback_of(ip: IpAddr, own: IpAddr, prefix_len: u8) -> bool {
    let (IpAddr::V4(ip), IpAddr::V4(own)) = (ip, own) else { return false };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    own.is_loopback() && (ip.to_bits() ^ own.to_bits()) & mask == 0
}

/// Whether the host may use the address already.
fn is_usable(address: &AddressMessage) -> bool {
    let flags = address.header.flags;
    let is_checked = !flags.contains(AddressHeaderFlags::Tentative) || flags.contains(AddressHeaderFlags::Optimistic);
    is_checked && !flags.contains(AddressHeaderFlags::Dadfailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(own: &str, prefix_len: u8, index: u32, flags: AddressHeaderFlags) -> AddressMessage {
        let mut message = AddressMessage::default();
        (message.header.prefix_len, message.header.index, message.header.flags) = (prefix_len, index, flags);
        message.attributes = vec![AddressAttribute::Address(own.parse().unwrap())];
        message
    }

    fn link() -> Link {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _in_it = runtime.enter();
        Link::open().unwrap()
    }

    /// What the kernel would say, as bytes.
    fn bytes(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
        let mut all = Vec::new();
        for message in messages {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn an_address_is_there_while_any_interface_has_it() {
        use RouteNetlinkMessage::{DelAddress, NewAddress};
        let (mut link, ip) = (link(), "10.0.0.223".parse().unwrap());
        let at = |index, prefix_len| message("10.0.0.223", prefix_len, index, AddressHeaderFlags::empty());
        let other = message("10.0.0.224", 24, 2, AddressHeaderFlags::empty());
        link.take(ip, &bytes(vec![NewAddress(other.clone()), NewAddress(at(2, 32)), NewAddress(at(3, 24))])).unwrap();
        link.take(ip, &bytes(vec![DelAddress(at(2, 32)), DelAddress(other)])).unwrap();
        assert_eq!(link.places, Places::from([(3, 24)]));
        link.take(ip, &bytes(vec![DelAddress(at(3, 24))])).unwrap();
        assert_eq!(link.places, Places::new());
    }

    #[test]
    fn the_near_end_of_a_point_to_point_interface_is_meant() {
        let mut message = message("10.0.0.2", 32, 2, AddressHeaderFlags::empty());
        message.attributes.push(AddressAttribute::Local("10.0.0.1".parse().unwrap()));
        assert!(is_of("10.0.0.1".parse().unwrap(), &message));
        assert!(!is_of("10.0.0.2".parse().unwrap(), &message));
    }

    #[test]
    fn an_ipv6_address_is_there_once_it_is_checked() {
        use AddressHeaderFlags as Flags;
        use RouteNetlinkMessage::NewAddress;
        let (mut link, ip) = (link(), "2001:db8::1".parse().unwrap());
        for (flags, is_there) in [
            (Flags::Tentative, false),
            (Flags::Tentative | Flags::Optimistic, true),
            (Flags::Permanent, true),
            (Flags::Dadfailed | Flags::Tentative, false),
            (Flags::Permanent | Flags::Nodad, true),
            (Flags::Dadfailed, false),
        ] {
            link.take(ip, &bytes(vec![NewAddress(message("2001:db8::1", 64, 2, flags))])).unwrap();
            assert_eq!(!link.places.is_empty(), is_there, "{flags:?}");
        }
    }

    #[test]
    fn all_addresses_of_a_loopback_network_are_there_and_of_no_other() {
        let is_there = |ip: &str, own: &str, prefix_len| {
            is_of(ip.parse().unwrap(), &message(own, prefix_len, 1, AddressHeaderFlags::empty()))
        };
        assert!(is_there("127.8.7.6", "127.0.0.1", 8));
        assert!(!is_there("127.8.7.6", "127.0.0.1", 32));
        assert!(!is_there("10.0.0.2", "10.0.0.1", 8));
    }

    #[test]
    fn a_message_that_is_cut_or_strange_is_passed_over() {
        let (mut link, ip) = (link(), "10.0.0.223".parse().unwrap());
        let whole =
            bytes(vec![RouteNetlinkMessage::NewAddress(message("10.0.0.223", 24, 2, AddressHeaderFlags::empty()))]);
        for length in 0..whole.len() {
            link.take(ip, &whole[..length]).unwrap();
            assert!(link.places.is_empty());
        }
        link.take(ip, &[0xff; 100]).unwrap();
        link.take(ip, &whole).unwrap();
        assert!(!link.places.is_empty());
    }

    #[test]
    fn a_list_that_is_not_whole_is_asked_for_again() {
        let (mut link, ip) = (link(), "10.0.0.223".parse().unwrap());
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::from(RouteNetlinkMessage::NewAddress(AddressMessage::default())),
        );
        link.take_one(ip, message.clone()).unwrap();
        message.header.flags = NLM_F_DUMP_INTR;
        assert!(link.take_one(ip, message).is_err());
        let overrun = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Overrun(Vec::new()));
        assert!(link.take_one(ip, overrun).is_err());
    }

    #[tokio::test]
    async fn the_kernel_says_which_addresses_the_host_has() {
        for (ip, is_there) in
            [("127.0.0.1", true), ("127.1.2.3", true), ("198.51.100.1", false), ("2001:db8::1", false)]
        {
            let mut watch = AddressWatch::new(ip.parse().unwrap());
            assert_eq!(watch.changed().await, is_there, "{ip}");
        }
    }
}
