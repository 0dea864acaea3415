//! What no single table can know: names, counts and ports over the whole cluster.

use super::section::Source;
use super::{Cluster, ConfigError, MAX_ACCEPTORS, MAX_REPLICAS, Place};
use std::net::SocketAddrV4;
use toml::de::DeTable;

type Result<T> = std::result::Result<T, ConfigError>;

pub(super) fn cluster(source: &Source<'_>, root: &DeTable<'_>, cluster: &Cluster) -> Result<()> {
    let acceptors = cluster.acceptors.len();
    // Later epochs pass through even numbers on their way to odd ones.
    if acceptors.is_multiple_of(2) && cluster.epoch == 1 {
        let problem = format!("{acceptors} acceptors tolerate no more failures than one less");
        let place = place(source, root, "acceptor", acceptors - 1, "id");
        return refuse(place, "acceptor", problem, "choose 1, 3, 5, ..");
    }
    for (role, count, most) in
        [("acceptor", acceptors, MAX_ACCEPTORS), ("replica", cluster.replicas.len(), MAX_REPLICAS)]
    {
        let most = usize::from(most);
        if count > most {
            let place = place(source, root, role, most, "id");
            let problem = format!("{count} are more than a cluster can have");
            return refuse(place, role, problem, format!("choose at most {most}"));
        }
    }
    names(source, root, cluster)?;
    ports(source, root, cluster)
}

fn refuse<T>(
    place: Option<Place>,
    key: impl Into<String>,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T> {
    Err(ConfigError::new(place, key, problem, remedy))
}

/// Where the `index`th table of `role` has `key`, or starts.
fn place(
    source: &Source<'_>,
    root: &DeTable<'_>,
    role: &str,
    index: usize,
    key: &str,
) -> Option<Place> {
    let table = root.get(role)?.get_ref().as_array()?.get(index)?;
    let value = table.get_ref().as_table().and_then(|table| table.get(key)).unwrap_or(table);
    Some(source.place(value.span().start))
}

/// Every node with its role, its place among its kind, and how many ports it has.
fn roles(cluster: &Cluster) -> impl Iterator<Item = (&'static str, usize, &super::Node, u16)> {
    let threads = u16::try_from(cluster.execution.worker_threads).expect("at most 64");
    let acceptors = cluster.acceptors.iter().enumerate().map(|(n, node)| ("acceptor", n, node, 1));
    let replicas = cluster.replicas.iter().enumerate();
    acceptors.chain(replicas.map(move |(n, node)| ("replica", n, node, threads)))
}

fn names(source: &Source<'_>, root: &DeTable<'_>, cluster: &Cluster) -> Result<()> {
    let mut seen = Vec::new();
    for (role, index, node, _) in roles(cluster) {
        let id = &node.id;
        if let Some((other, _)) = seen.iter().find(|(_, known)| *known == id) {
            let (problem, remedy) = if *other == role {
                (format!("\"{id}\" is there twice"), "rename one of them".to_owned())
            } else {
                (format!("\"{id}\" is an acceptor already"), both(cluster, id))
            };
            let place = place(source, root, role, index, "id");
            return refuse(place, format!("{role}[{index}].id"), problem, remedy);
        }
        seen.push((role, id));
    }
    Ok(())
}

/// How one process is what `id` was to be, an acceptor and a replica (docs/adr/0036).
fn both(cluster: &Cluster, id: &str) -> String {
    let is_free = |name: &String| cluster.nodes().all(|node| node.id != *name);
    let free = (1..).map(|n| format!("r{n}")).find(is_free).expect("some number is free");
    format!(
        "give the replica an id of its own, as \"{free}\": `psmr node --id {id} --id {free}` runs \
         both in one process"
    )
}

fn ports(source: &Source<'_>, root: &DeTable<'_>, cluster: &Cluster) -> Result<()> {
    let mut taken: Vec<(SocketAddrV4, &str)> = Vec::new();
    for (role, index, node, count) in roles(cluster) {
        let key = format!("{role}[{index}].port");
        let place = || place(source, root, role, index, "port");
        let port = node.address.port();
        if port.checked_add(count - 1).is_none() {
            let problem = format!("its {count} threads need ports beyond 65535");
            return refuse(
                place(),
                key,
                problem,
                format!("choose {} or less", 65_536 - u32::from(count)),
            );
        }
        for port in port..=port + (count - 1) {
            let address = SocketAddrV4::new(*node.address.ip(), port);
            if let Some((_, other)) = taken.iter().find(|(known, _)| *known == address) {
                let problem = format!("{address} is also {other}'s");
                let remedy = format!("ports of one host differ; {} has {count}", node.id);
                return refuse(place(), key, problem, remedy);
            }
            taken.push((address, &node.id));
        }
    }
    Ok(())
}
