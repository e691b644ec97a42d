//! The move of linux.netDevices, and the way back for a container that does not come to be.

use std::{fs::File, os::fd::BorrowedFd};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::io::Errno;

use super::{
    address::{self, Address, Route},
    link::{self, Link},
    netlink::Socket,
};
use crate::{
    error::{Context, Error, Result},
    namespaces::setns,
    plan::NetDevice,
};

/// Devices between two network namespaces. Dropped before [`Transfer::keep`] it puts back what it
/// moved: the kernel would destroy a virtual device with its namespace, and an operation that
/// fails leaves everything as it was (runtime.md, "Errors").
#[derive(Debug)]
pub(crate) struct Transfer {
    host: Socket,
    /// The runtime's network namespace.
    home: File,
    devices: Vec<Device>,
    inside: Option<Inside>,
}

/// A device, as it was on the host.
#[derive(Debug)]
struct Device {
    plan: NetDevice,
    link: Link,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Host,
    /// The kernel moves first and renames then: one that refused the name has moved.
    OnItsWay,
    /// Its index there: if its own was taken, the kernel gave it another.
    Inside(u32),
}

/// The container's network namespace, which lives as long as this.
#[derive(Debug)]
struct Inside {
    socket: Socket,
    namespace: File,
    /// Indices of the devices whose way here is known, or that were here before.
    known: Vec<u32>,
}

impl Transfer {
    /// Looks at the devices where they are. Changes nothing.
    ///
    /// # Errors
    /// A device that does not exist.
    pub(crate) fn prepare(devices: &[NetDevice]) -> Result<Option<Self>> {
        if devices.is_empty() {
            return Ok(None);
        }
        let mut host = Socket::open().doing(|| "cannot ask for network devices")?;
        let devices = devices
            .iter()
            .map(|plan| Device::find(&mut host, plan).map_err(|errno| refused(plan, errno)));
        let devices = devices.collect::<Result<_>>()?;
        Ok(Some(Self { host, home: own_namespace()?, devices, inside: None }))
    }

    /// Moves the devices to the network namespace of the process that `pidfd` refers to.
    ///
    /// # Errors
    /// A name that is taken there, before anything has moved; whatever the kernel refuses.
    pub(crate) fn carry_out(&mut self, pidfd: BorrowedFd<'_>) -> Result<()> {
        let mut inside = Inside::enter(pidfd, &self.home)?;
        let there = link::all(&mut inside.socket).doing(|| "cannot ask for network devices")?;
        for Device { plan, .. } in &self.devices {
            if there.iter().any(|link| link.name == plan.name) {
                return Err(refused(plan, Errno::EXIST));
            }
        }
        inside.known = there.iter().map(|link| link.index).collect();
        let inside = self.inside.insert(inside);
        for device in &mut self.devices {
            device.depart(&mut self.host, inside).map_err(|errno| refused(&device.plan, errno))?;
        }
        Ok(())
    }

    /// From now on the devices belong to the owner of their namespace.
    pub(crate) fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Transfer {
    /// As far as the kernel lets it: the caller has a failure to tell already.
    fn drop(&mut self) {
        let Some(inside) = &mut self.inside else { return };
        for device in &self.devices {
            let _ = device.come_back(&mut self.host, inside, &self.home);
        }
    }
}

impl Device {
    fn find(host: &mut Socket, plan: &NetDevice) -> Result<Self, Errno> {
        let link = link::find(host, &plan.device)?;
        let addresses = address::addresses(host, link.index)?;
        let routes = address::routes(host, link.index)?;
        Ok(Self { plan: plan.clone(), link, addresses, routes, place: Place::Host })
    }

    fn depart(&mut self, host: &mut Socket, inside: &mut Inside) -> Result<(), Errno> {
        self.place = Place::OnItsWay;
        link::depart(host, self.link.index, &inside.namespace, &self.plan.name)?;
        let (index, name) = inside.arrived(|name| self.plan.may_be_called(name))?;
        self.place = Place::Inside(index);
        let kept = self.addresses.iter().filter(|address| address.belongs_to_the_device());
        for address in kept {
            address::add(&mut inside.socket, index, address, (&self.link.name, &name))?;
        }
        link::set_up(&mut inside.socket, index)
    }

    fn come_back(&self, host: &mut Socket, inside: &mut Inside, home: &File) -> Result<(), Errno> {
        let Link { name, up, master, .. } = &self.link;
        let inside_index = match self.place {
            Place::Host => return Ok(()),
            Place::OnItsWay => inside.arrived(|other| other == name).ok().map(|(index, _)| index),
            Place::Inside(index) => Some(index),
        };
        if let Some(index) = inside_index {
            link::depart(&mut inside.socket, index, home, name)?;
        }
        let index = link::find(host, name)?.index;
        if let Some(master) = master {
            let _ = link::set_master(host, index, *master);
        }
        for address in &self.addresses {
            let _ = address::add(host, index, address, (name, name));
        }
        if *up {
            link::set_up(host, index)?;
        }
        for route in &self.routes {
            let _ = address::lead(host, index, route);
        }
        Ok(())
    }
}

impl Inside {
    /// A socket and a handle of the namespace; this process itself is back home afterwards.
    fn enter(pidfd: BorrowedFd<'_>, home: &File) -> Result<Self> {
        const KIND: u64 = LinuxNamespaceType::Network as u64;
        const DOING: &str = "cannot enter the container's network namespace";
        setns(pidfd, KIND).doing(|| DOING)?;
        let opened = Socket::open()
            .doing(|| DOING)
            .and_then(|socket| Ok(Self { socket, namespace: own_namespace()?, known: Vec::new() }));
        setns(home, KIND).doing(|| "cannot leave the container's network namespace")?;
        opened
    }

    /// Index and name of the device that has just come.
    fn arrived(&mut self, called: impl Fn(&str) -> bool) -> Result<(u32, String), Errno> {
        let links = link::all(&mut self.socket)?;
        let new = |link: &&Link| !self.known.contains(&link.index) && called(&link.name);
        let Link { index, name, .. } = links.iter().find(new).ok_or(Errno::NODEV)?;
        self.known.push(*index);
        Ok((*index, name.clone()))
    }
}

fn own_namespace() -> Result<File> {
    File::open("/proc/thread-self/ns/net")
        .map_err(|cause| Error::os("cannot open the network namespace", cause))
}

fn refused(device: &NetDevice, errno: Errno) -> Error {
    let NetDevice { device: from, name } = device;
    let error = Error::os(format!("cannot move network device {from:?} into the container"), errno)
        .at(device.at());
    match errno {
        Errno::NODEV => error.hint("`ip link` shows the devices of the runtime's network namespace"),
        Errno::EXIST => error.hint(format!(
            "the container's network namespace has a device {name:?} already; see linux.netDevices.*.name"
        )),
        Errno::INVAL => error.hint("a bridge, a loopback and some tunnels cannot leave their network namespace"),
        Errno::PERM | Errno::ACCESS => error.hint("this needs CAP_NET_ADMIN in both network namespaces"),
        _ => error,
    }
}
