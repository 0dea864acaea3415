//! Three hosts and a client's, each a network namespace on one switch.

use super::sandbox::run;
use super::switch::{PORTS, Path, Rules, Switch, address};
use std::io;
use std::process::Command;

/// The namespaces; the last one is the client's.
pub(crate) const NAMES: [&str; PORTS] = ["h1", "h2", "h3", "client"];
/// Where nodes are.
pub(crate) const HOSTS: usize = 3;
/// The client's host.
pub(crate) const CLIENT: usize = 3;
/// What each host calls its interface.
const DEVICE: &str = "eth0";

/// The hosts. Dropping it removes them.
pub(crate) struct Network {
    switch: Switch,
}

impl Network {
    pub(crate) fn new(seed: u64) -> io::Result<Self> {
        let devices = ["port0", "port1", "port2", "port3"];
        let switch = Switch::new(devices, seed)?;
        let network = Self { switch };
        for (host, device) in devices.into_iter().enumerate() {
            let name = NAMES[host];
            let hardware = address(host).map(|byte| format!("{byte:02x}")).join(":");
            let subnet = format!("{}/24", ip(host));
            run(&["ip", "netns", "add", name])?;
            run(&["ip", "link", "set", device, "netns", name])?;
            let link = ["ip", "-n", name, "link", "set"];
            run(&[&link[..], &[device, "name", DEVICE, "address", &hardware]].concat())?;
            run(&["ip", "-n", name, "addr", "add", &subnet, "dev", DEVICE])?;
            run(&[&link[..], &["lo", "up"]].concat())?;
            network.set_link(host, true)?;
        }
        Ok(network)
    }

    /// A command on `host`.
    pub(crate) fn command(host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMES[host], program]);
        command
    }

    /// Changes what the switch does to frames.
    pub(crate) fn set(&self, rules: Rules) {
        self.switch.set(rules);
    }

    /// Every path between different hosts is `path`.
    pub(crate) fn everywhere(path: Path) -> Rules {
        [[path; PORTS]; PORTS]
    }

    /// Pulls or plugs in the cable of a host, as it sees it.
    pub(crate) fn set_link(&self, host: usize, is_up: bool) -> io::Result<()> {
        let state = if is_up { "up" } else { "down" };
        run(&["ip", "-n", NAMES[host], "link", "set", DEVICE, state])?;
        if is_up {
            let route = ["route", "replace", "224.0.0.0/4", "dev", DEVICE];
            run(&[&["ip", "-n", NAMES[host]][..], &route].concat())?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in NAMES {
            let _ = run(&["ip", "netns", "del", name]);
        }
    }
}

/// The address of a host.
pub(crate) fn ip(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}
