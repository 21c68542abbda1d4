//! Under which addresses this machine may be reached by others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses of a hub that listens at `listen`, the best first: that one, if it is one; otherwise
/// those of all interfaces. Sends nothing.
#[must_use]
pub fn reachable(listen: IpAddr) -> Vec<IpAddr> {
    if !listen.is_unspecified() {
        return vec![listen];
    }
    // What cannot be listed is not known.
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let all = all.into_iter().filter(if_addrs::Interface::is_oper_up).map(|it| it.ip());
    sorted(all, listen.is_ipv6(), usual())
}

/// `usual` first, then the others in their order; loopback addresses only where there are no others.
fn sorted(
    all: impl Iterator<Item = IpAddr>,
    with_ipv6: bool,
    usual: Option<IpAddr>,
) -> Vec<IpAddr> {
    let (near, mut far): (Vec<IpAddr>, Vec<IpAddr>) = all
        .filter(|ip| is_shared(*ip) && (with_ipv6 || ip.is_ipv4()))
        .partition(IpAddr::is_loopback);
    far.sort_by_key(|ip| (Some(*ip) != usual, ip.is_ipv6(), is_link_local(*ip)));
    far.dedup();
    if far.is_empty() { near } else { far }
}

/// Whether an address means the same on other machines: a link-local one of IPv6 needs the name of an
/// interface of theirs.
fn is_shared(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_link_local())
}

/// The address from which most of the world is reached.
fn usual() -> Option<IpAddr> {
    // Of a documentation network (RFC 5737): to connect a datagram socket sends nothing.
    let anywhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(anywhere).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Where to listen if `listen` cannot be had since the machine has no IPv6.
#[must_use]
pub fn without_ipv6(listen: IpAddr) -> Option<IpAddr> {
    (listen == Ipv6Addr::UNSPECIFIED).then_some(Ipv4Addr::UNSPECIFIED.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_usual_address_comes_first_and_what_means_nothing_elsewhere_not_at_all() {
        let all =
            ["127.0.0.1", "169.254.1.1", "fe80::1", "fd00::5", "10.0.0.2", "192.168.1.5", "::1"];
        let all = ips(&all);
        let usual = "192.168.1.5".parse().ok();
        let both = ips(&["192.168.1.5", "10.0.0.2", "169.254.1.1", "fd00::5"]);
        assert_eq!(sorted(all.iter().copied(), true, usual), both);
        assert_eq!(sorted(all.into_iter(), false, usual), both[..3]);
    }

    #[test]
    fn a_machine_without_a_network_is_reached_from_itself() {
        let loopback = ips(&["127.0.0.1", "::1"]);
        assert_eq!(sorted(loopback.iter().copied(), true, None), loopback);
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(reachable(here), [here]);
        assert!(reachable(Ipv6Addr::UNSPECIFIED.into()).iter().all(|ip| !ip.is_unspecified()));
    }
}
