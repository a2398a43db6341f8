//! In which order the servers of a name are tried (RFC 3263 §4.2, RFC 2782).
//!
//! Ranks one after another. Within a rank the first is drawn by weight, then the next among those left. Of several addresses
//! of one server those of IPv6 come first (RFC 6724 §2.1), each family beginning at one that is drawn.
//!
//! What is drawn depends on a number alone, which is that of the call: whatever belongs to it goes the same way (§4.4), and
//! calls spread.

use super::inquiry::Server;
use std::net::IpAddr;

/// Numbers that follow from one, evenly spread.
struct Draws(u64);

impl Draws {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % bound
    }
}

/// All addresses of `servers`, whose ranks follow one another, the first to try first.
pub(crate) fn order(servers: &[Server], number: u64) -> Vec<(&Server, IpAddr)> {
    let mut draws = Draws(number);
    let mut ordered = Vec::with_capacity(servers.len());
    for rank in servers.chunk_by(|a, b| a.rank == b.rank) {
        // Those without weight stand in front, so that they are drawn only when the number is 0 (RFC 2782).
        let mut left: Vec<&Server> = rank.iter().filter(|server| server.weight == 0).collect();
        left.extend(rank.iter().filter(|server| server.weight != 0));
        while !left.is_empty() {
            let sum: u64 = left.iter().map(|server| u64::from(server.weight)).sum();
            let at = if sum == 0 {
                draws.below(left.len() as u64) as usize
            } else {
                let drawn = draws.below(sum + 1);
                let mut running = 0;
                left.iter()
                    .position(|server| {
                        running += u64::from(server.weight);
                        running >= drawn
                    })
                    .unwrap_or(0)
            };
            let server = left.remove(at);
            ordered.extend(addresses(server, &mut draws).map(|ip| (server, ip)));
        }
    }
    ordered
}

fn addresses<'a>(server: &'a Server, draws: &mut Draws) -> impl Iterator<Item = IpAddr> + use<'a> {
    let drawn = draws.below(1 << 32) as usize;
    [false, true].into_iter().flat_map(move |is_ipv4| {
        let family = move || server.addresses.iter().copied().filter(move |ip| ip.is_ipv4() == is_ipv4);
        let count = family().count();
        (0..count).filter_map(move |n| family().nth((n + drawn) % count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(rank: u16, weight: u16, addresses: &[&str]) -> Server {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        Server { transport: None, port: None, rank, weight, addresses }
    }

    fn firsts(servers: &[Server]) -> Vec<usize> {
        let mut counts = vec![0; servers.len()];
        for number in 0..10_000 {
            let ordered = order(servers, number);
            assert_eq!(ordered.len(), servers.len());
            counts[servers.iter().position(|server| std::ptr::eq(server, ordered[0].0)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn rfc2782_weights_share_a_rank_and_ranks_follow_one_another() {
        let ip = ["192.0.2.1"];
        let counts = firsts(&[server(0, 60, &ip), server(0, 30, &ip), server(0, 10, &ip), server(1, 65535, &ip)]);
        for (count, share) in counts.iter().zip([6000, 3000, 1000, 0]) {
            assert!(count.abs_diff(share) < 300, "{counts:?}");
        }
        let counts = firsts(&[server(0, 0, &ip), server(0, 0, &ip)]);
        assert!(counts[0].abs_diff(5000) < 300, "those without weight share evenly: {counts:?}");
        let counts = firsts(&[server(0, 99, &ip), server(0, 0, &ip)]);
        assert!((1..400).contains(&counts[1]), "beside a weight they are rarely first: {counts:?}");
    }

    #[test]
    fn one_number_gives_one_order() {
        let servers = [server(0, 1, &["192.0.2.1", "192.0.2.2"]), server(0, 1, &["192.0.2.3"])];
        assert_eq!(order(&servers, 7), order(&servers, 7));
        let all: std::collections::HashSet<IpAddr> = (0..100).map(|n| order(&servers, n)[0].1).collect();
        assert_eq!(all.len(), 3, "each is first for some");
    }

    #[test]
    fn rfc6724_addresses_of_ipv6_come_first() {
        let servers = [server(0, 0, &["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"])];
        for number in 0..20 {
            let families: Vec<bool> = order(&servers, number).iter().map(|(_, ip)| ip.is_ipv6()).collect();
            assert_eq!(families, [true, true, false, false]);
        }
    }
}
