//! A cluster.toml brought up to the members of another epoch. What else it says, and how it is laid
//! out, stays.

use super::members::Member;
use super::section::Source;
use super::{ConfigError, Members};
use std::net::Ipv4Addr;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// `text` with `members`.
///
/// # Errors
/// If `text` is no TOML; what else is wrong, [`super::Config::read`] finds.
pub fn with_members(text: &str, members: &Members) -> Result<String, ConfigError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let message = error.message().trim().replace('\n', ", ");
        let place = error.span().map(|span| Source::new(text).place(span.start));
        ConfigError::new(place, "", message, "correct the file; see https://toml.io")
    })?;
    document["cluster"]["epoch"] = value(i64::from(members.epoch));
    let (wire, known) = (i64::from(members.wire), document["cluster"].get("wire"));
    if known.and_then(Item::as_integer).unwrap_or(1) != wire {
        replace(&mut document["cluster"]["wire"], wire);
    }
    let mut hosts = hosts(&document);
    for (name, members) in [("acceptor", &members.acceptors), ("replica", &members.replicas)] {
        let known = document.remove(name).and_then(|item| item.into_array_of_tables().ok());
        let known: Vec<Table> = known.into_iter().flatten().collect();
        let mut tables = ArrayOfTables::new();
        for member in members {
            let host = host_of(&mut hosts, *member.address.ip());
            let is_its = |table: &&Table| is_text(table, "id", &member.id);
            tables.push(table_of(member, &host, known.iter().find(is_its)));
        }
        document.insert(name, Item::ArrayOfTables(tables));
    }
    let new = hosts.into_iter().filter(|(_, _, is_new)| *is_new);
    for (name, address, _) in new {
        let mut table = Table::new();
        table["name"] = value(name);
        table["address"] = value(address.to_string());
        if let Some(tables) = document["host"].as_array_of_tables_mut() {
            table.decor_mut().set_prefix("\n");
            tables.push(table);
        }
    }
    Ok(document.to_string())
}

/// Another number in the place of one that may be there, with the comment behind it.
fn replace(item: &mut Item, number: i64) {
    let decor = item.as_value().map(|known| known.decor().clone());
    *item = value(number);
    if let (Some(decor), Some(new)) = (decor, item.as_value_mut()) {
        *new.decor_mut() = decor;
    }
}

fn is_text(table: &Table, key: &str, text: &str) -> bool {
    table.get(key).and_then(Item::as_str) == Some(text)
}

/// The names and addresses of the hosts, and that none of them is new.
fn hosts(document: &DocumentMut) -> Vec<(String, Ipv4Addr, bool)> {
    let tables = document.get("host").and_then(Item::as_array_of_tables);
    let host = |table: &Table| {
        let name = table.get("name")?.as_str()?.to_owned();
        Some((name, table.get("address")?.as_str()?.parse().ok()?, false))
    };
    tables.into_iter().flatten().filter_map(host).collect()
}

/// The name of the host with this address: a new one, if there is none.
fn host_of(hosts: &mut Vec<(String, Ipv4Addr, bool)>, address: Ipv4Addr) -> String {
    if let Some((name, ..)) = hosts.iter().find(|(_, known, _)| *known == address) {
        return name.clone();
    }
    let is_free = |name: &String| hosts.iter().all(|(known, ..)| known != name);
    let name = (1..).map(|n| format!("h{n}")).find(is_free).expect("some number is free");
    hosts.push((name.clone(), address, true));
    name
}

/// The table of `member`: what it was, with what has changed.
fn table_of(member: &Member, host: &str, known: Option<&Table>) -> Table {
    let mut table = known.cloned().unwrap_or_else(|| {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        table["id"] = value(member.id.as_str());
        table
    });
    // Where it stands in the file is where it is put.
    table.set_position(None);
    let number = i64::from(member.number);
    let is_numbered = table.get("number").and_then(Item::as_integer) == Some(number);
    if !is_numbered {
        table["number"] = value(number);
    }
    let since = i64::from(member.since);
    if table.get("since").and_then(Item::as_integer).unwrap_or(1) != since {
        table["since"] = value(since);
    }
    if !is_text(&table, "host", host) {
        table["host"] = value(host);
    }
    let port = i64::from(member.address.port());
    if table.get("port").and_then(Item::as_integer) != Some(port) {
        table["port"] = value(port);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Kind};
    use std::net::SocketAddrV4;

    const FILE: &str = r#"# Ours.
schema = "psmr.cluster/1"

[cluster]
id = "00000000000000ff"
model = "smr"
durability = "memory"

[[host]]
name = "h1"
address = "127.0.0.1"

[[acceptor]]
id = "a1" # the first
host = "h1"
port = 21001

[[acceptor]]
id = "a2"
host = "h1"
port = 21002
cores = [3]

[[acceptor]]
id = "a3"
host = "h1"
port = 21003

[[replica]]
id = "r1"
host = "h1"
port = 21004

[[ring]]
group = 0
address = "239.1.2.3:21000"

[service]
name = "null"
"#;

    fn address(text: &str) -> SocketAddrV4 {
        text.parse().expect("an address")
    }

    #[test]
    fn a_file_is_brought_up_to_its_members_and_says_the_rest_as_before() {
        let cluster = Config::read(FILE).expect("sound").cluster;
        let members = Members::of(&cluster);
        let next = members.replace("a1", "a4", address("10.1.2.3:21001")).expect("a1 is there");
        let next = next.add(Kind::Replica, "r2", address("127.0.0.1:21009")).expect("room");
        let text = with_members(FILE, &next).expect("TOML");
        let after = Config::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).cluster;
        assert_eq!(Members::of(&after), next, "{text}");
        assert_eq!(after.epoch, 3);
        assert_eq!(after.acceptors[1].cores, [3]);
        assert_eq!(after.hosts[1].address, Ipv4Addr::new(10, 1, 2, 3));
        assert!(text.starts_with("# Ours.\n"), "{text}");
        assert_eq!(after.digests, cluster.in_epoch_of(&next).digests);
        // Once more changes nothing.
        assert_eq!(with_members(&text, &next).as_deref(), Ok(text.as_str()));
        let back = next.remove("a4").expect("it is there");
        let text = with_members(&text, &back).expect("TOML");
        let after = Config::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).cluster;
        assert_eq!(Members::of(&after), back, "{text}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_its_place() {
        let cluster = Config::read(FILE).expect("sound").cluster;
        let text = FILE.replace("port = 21002", "port = = 21002");
        let error = with_members(&text, &Members::of(&cluster)).expect_err("no TOML");
        let line = 1 + text.lines().position(|line| line.contains("= =")).expect("just written");
        assert_eq!(error.place.map(|place| (place.line, place.column)), Some((line, 8)), "{error}");
    }

    #[test]
    fn another_wire_version_is_written_where_there_is_one_and_else_below() {
        let cluster = Config::read(FILE).expect("sound").cluster;
        let raised = Members::of(&cluster).upgrade(2).expect("it is spoken here");
        let text = with_members(FILE, &raised).expect("TOML");
        let after = Config::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).cluster;
        assert_eq!((after.wire, Members::of(&after)), (2, raised.clone()), "{text}");
        assert_eq!(after.digests, cluster.in_epoch_of(&raised).digests);
        let text = text.replace("wire = 2", "wire = 1 # of datagrams");
        let text = with_members(&text, &raised).expect("TOML");
        assert!(text.contains("wire = 2 # of datagrams"), "{text}");
    }
}
