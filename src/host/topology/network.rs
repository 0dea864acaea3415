//! The network cards, from /sys: a socket's path is shortest from the cores of its card's node.

use super::CpuId;
use serde::Serialize;

/// One network card with hardware under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkCard {
    /// As `ip link` calls it.
    pub name: String,
    /// The memory node that it hangs on; `None` where the machine does not say.
    pub node: Option<u32>,
    /// Megabits a second; `None` where the driver does not say.
    pub speed_mbps: Option<u64>,
    /// The largest packet, bytes.
    pub mtu: Option<u32>,
    /// Receive queues, each with an interrupt of its own.
    pub receive_queues: usize,
    /// The CPUs that take its interrupts, rising; empty where that is unknown.
    pub interrupt_cpus: Vec<CpuId>,
}

impl NetworkCard {
    /// The cards of this machine, by name. Bridges, tunnels and loopback are none.
    #[must_use]
    pub fn read_all() -> Vec<Self> {
        read(&|path| std::fs::read_to_string(path).ok(), &|path| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        })
    }
}

/// Reads the cards through `file`, a file's text, and `entries`, a directory's names.
fn read(
    file: &dyn Fn(&str) -> Option<String>,
    entries: &dyn Fn(&str) -> Vec<String>,
) -> Vec<NetworkCard> {
    let card = |name: String| {
        let directory = format!("/sys/class/net/{name}");
        // Only what has hardware has a device.
        file(&format!("{directory}/device/uevent"))?;
        let number = |path: &str| file(&format!("{directory}/{path}"))?.trim().parse::<i64>().ok();
        let queues = entries(&format!("{directory}/queues"));
        Some(NetworkCard {
            // -1: unknown.
            node: number("device/numa_node").and_then(|node| u32::try_from(node).ok()),
            speed_mbps: number("speed").and_then(|speed| u64::try_from(speed).ok()),
            mtu: number("mtu").and_then(|mtu| u32::try_from(mtu).ok()),
            receive_queues: queues.iter().filter(|queue| queue.starts_with("rx-")).count(),
            interrupt_cpus: interrupt_cpus(file, &entries(&format!("{directory}/device/msi_irqs"))),
            name,
        })
    };
    let mut names = entries("/sys/class/net");
    names.sort_unstable();
    names.into_iter().filter_map(card).collect()
}

fn interrupt_cpus(file: &dyn Fn(&str) -> Option<String>, interrupts: &[String]) -> Vec<CpuId> {
    let cpus = |interrupt: &String| file(&format!("/proc/irq/{interrupt}/effective_affinity_list"));
    let mut cpus: Vec<_> =
        interrupts.iter().filter_map(cpus).flat_map(|text| super::sysfs::list(&text)).collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Option<String> {
        let text = match path {
            "/sys/class/net/eth0/device/uevent" => "DRIVER=bnx2\n",
            "/sys/class/net/eth0/device/numa_node" => "1\n",
            "/sys/class/net/eth0/speed" => "1000\n",
            "/sys/class/net/eth0/mtu" => "1500\n",
            "/sys/class/net/eth1/device/uevent" => "",
            "/sys/class/net/eth1/device/numa_node" | "/sys/class/net/eth1/speed" => "-1\n",
            "/proc/irq/40/effective_affinity_list" => "2\n",
            "/proc/irq/41/effective_affinity_list" => "0-1\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn entries(path: &str) -> Vec<String> {
        let names: &[&str] = match path {
            "/sys/class/net" => &["lo", "eth1", "eth0"],
            "/sys/class/net/eth0/queues" => &["rx-0", "rx-1", "tx-0"],
            "/sys/class/net/eth0/device/msi_irqs" => &["41", "40"],
            _ => &[],
        };
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn cards_are_found_by_their_devices_with_what_is_known_of_them() {
        let cards = read(&file, &entries);
        let whole = NetworkCard {
            name: "eth0".into(),
            node: Some(1),
            speed_mbps: Some(1000),
            mtu: Some(1500),
            receive_queues: 2,
            interrupt_cpus: vec![CpuId(0), CpuId(1), CpuId(2)],
        };
        assert_eq!(cards[0], whole);
        let unknown = NetworkCard {
            name: "eth1".into(),
            node: None,
            speed_mbps: None,
            mtu: None,
            receive_queues: 0,
            interrupt_cpus: Vec::new(),
        };
        assert_eq!(cards[1..], [unknown]);
    }

    #[test]
    fn the_cards_of_this_machine_can_be_read() {
        assert!(NetworkCard::read_all().iter().all(|card| !card.name.is_empty()));
    }
}
