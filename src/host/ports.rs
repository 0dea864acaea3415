//! Who has a UDP port: a process that runs, or nobody any more.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// The process that has a UDP socket at `address` or at all addresses, as far as this process may
/// see those of others. An io_uring keeps the sockets of a process that was killed a little longer:
/// those have nobody any more.
#[must_use]
pub fn holder(address: SocketAddrV4) -> Option<u32> {
    let sockets = fs::read_to_string("/proc/self/net/udp").ok()?;
    let inodes = sockets.lines().skip(1).filter_map(|line| inode(line, address));
    let links: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let mut processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.find_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        has_one_of(&entry.path().join("fd"), &links).then_some(id)
    })
}

/// The socket's inode, if this line of /proc/net/udp is of `address`.
fn inode(line: &str, address: SocketAddrV4) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let (ip, port) = words.nth(1)?.split_once(':')?;
    // The address as the machine has it in memory: that of the network, byte by byte.
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    let is_its = ip == *address.ip() || ip.is_unspecified();
    let port = u16::from_str_radix(port, 16).ok()?;
    if !is_its || port != address.port() {
        return None;
    }
    words.nth(7)?.parse().ok()
}

/// Whether a file in `descriptors` is one of `links`.
fn has_one_of(descriptors: &Path, links: &[String]) -> bool {
    let Ok(files) = fs::read_dir(descriptors) else { return false };
    let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.any(|target| target.to_str().is_some_and(|target| links.iter().any(|l| l == target)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    #[test]
    fn the_holder_of_a_port_is_found_as_long_as_it_lives() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { unreachable!() };
        assert_eq!(holder(address), Some(std::process::id()));
        let other = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 77), address.port());
        assert_eq!(holder(other), None);
        drop(socket);
        assert_eq!(holder(address), None);
    }
}
