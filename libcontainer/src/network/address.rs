//! The addresses and routes of a device: read as the kernel tells them, and told to it again.

use rustix::io::Errno;

use super::netlink::{Request, Socket, attribute, attributes, number};

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS: usize = 8;
/// `struct rtmsg`: family, two prefix lengths, tos, table, protocol, scope, type, flags.
const ROUTE: usize = 12;

/// One address, in the kernel's own form: lifetimes, peer, broadcast, metric and flags come along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(Vec<u8>);

impl Address {
    /// What the specification wants kept (config-linux.md; RFC 3549, 2.3.3.2): set up by somebody
    /// for good (IFA_F_PERMANENT) and for every place (RT_SCOPE_UNIVERSE).
    pub(super) fn belongs_to_the_device(&self) -> bool {
        let flags = attribute(&self.0, ADDRESS, libc::IFA_FLAGS);
        let flags = flags.and_then(|value| number(value, 0)).unwrap_or(u32::from(self.0[2]));
        flags & libc::IFA_F_PERMANENT != 0 && self.0[3] == libc::RT_SCOPE_UNIVERSE
    }
}

/// All addresses of the device `index`, primary ones before their secondaries.
pub(super) fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Address>, Errno> {
    let mut found = socket.dump(Request::new(libc::RTM_GETADDR, &[0; ADDRESS]))?;
    found.retain(|body| body.len() >= ADDRESS && number(body, 4) == Some(index));
    Ok(found.into_iter().map(Address).collect())
}

/// Gives an address to the device `index`, which was called `from` when it was asked about and is
/// called `to` now.
pub(super) fn add(
    socket: &mut Socket,
    index: u32,
    address: &Address,
    (from, to): (&str, &str),
) -> Result<(), Errno> {
    let Address(body) = address;
    let mut fixed = body[..ADDRESS].to_vec();
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut request = again(libc::RTM_NEWADDR, &fixed, body, libc::IFA_LABEL);
    let label = attribute(body, ADDRESS, libc::IFA_LABEL);
    if let Some(label) = label.and_then(|label| relabelled(label, from, to)) {
        request = request.attribute(libc::IFA_LABEL, &label);
    }
    socket.ask(request).map(drop)
}

/// ip-address(8): a label is the device's name, and maybe more. One that grows too long is lost.
fn relabelled(label: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let more = label.strip_prefix(from.as_bytes())?;
    let label = [to.as_bytes(), more].concat();
    (label.len() <= libc::IFNAMSIZ).then_some(label)
}

/// One route over a device, as [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route(Vec<u8>);

/// The routes over the device `index` that somebody made: those of the kernel's own follow from
/// the addresses.
pub(super) fn routes(socket: &mut Socket, index: u32) -> Result<Vec<Route>, Errno> {
    let mut found = socket.dump(Request::new(libc::RTM_GETROUTE, &[0; ROUTE]))?;
    found.retain(|body| {
        let by_somebody = body.get(5).is_some_and(|protocol| *protocol > libc::RTPROT_KERNEL);
        let over = attribute(body, ROUTE, libc::RTA_OIF).and_then(|value| number(value, 0));
        let cached = number(body, 8).is_none_or(|flags| flags & libc::RTM_F_CLONED != 0);
        by_somebody && over == Some(index) && !cached
    });
    Ok(found.into_iter().map(Route).collect())
}

/// Leads a route over the device `index`.
pub(super) fn lead(socket: &mut Socket, index: u32, route: &Route) -> Result<(), Errno> {
    let Route(body) = route;
    let mut fixed = body[..ROUTE].to_vec();
    // The flags of a nexthop that the kernel keeps itself (dead, linkdown, offloaded).
    fixed[8..].fill(0);
    let request = again(libc::RTM_NEWROUTE, &fixed, body, libc::RTA_OIF);
    socket.ask(request.attribute(libc::RTA_OIF, &index.to_ne_bytes())).map(drop)
}

/// The same object as in `body`, but for the fixed part and one attribute.
fn again(kind: u16, fixed: &[u8], body: &[u8], other: u16) -> Request {
    let request = Request::new(kind, fixed).flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    attributes(body, fixed.len())
        .filter(|(kind, _)| *kind != other)
        .fold(request, |request, (kind, value)| request.attribute(kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(flags: u8, scope: u8) -> Address {
        Address(vec![2, 24, flags, scope, 1, 0, 0, 0])
    }

    #[test]
    fn only_permanent_addresses_for_every_place_belong_to_the_device() {
        let permanent = libc::IFA_F_PERMANENT as u8;
        assert!(address(permanent, libc::RT_SCOPE_UNIVERSE).belongs_to_the_device());
        assert!(!address(permanent, libc::RT_SCOPE_LINK).belongs_to_the_device());
        assert!(!address(permanent, libc::RT_SCOPE_HOST).belongs_to_the_device());
        assert!(!address(0, libc::RT_SCOPE_UNIVERSE).belongs_to_the_device());
        // The attribute has more bits than the struct, and counts.
        let Address(mut long) = address(permanent, libc::RT_SCOPE_UNIVERSE);
        long.extend([8, 0, libc::IFA_FLAGS as u8, 0, 0, 2, 0, 0]);
        assert!(!Address(long).belongs_to_the_device());
    }

    #[test]
    fn a_label_follows_the_name_of_its_device() {
        assert_eq!(relabelled(b"eth0\0", "eth0", "net"), Some(b"net\0".to_vec()));
        assert_eq!(relabelled(b"eth0:web\0", "eth0", "net"), Some(b"net:web\0".to_vec()));
        assert_eq!(relabelled(b"eth0:web\0", "eth0", "a-long-name-1"), None);
        assert_eq!(relabelled(b"other\0", "eth0", "net"), None);
    }
}
