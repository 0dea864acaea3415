//! Rules about Rust code.

use super::source::{Line, Source};

/// The most lines that a file may have.
const LONGEST_FILE: usize = 600;

/// The edges of docs/ARCHITECTURE.md: a module and what it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("sync", &["types"]),
    ("mem", &["types", "sync"]),
    ("wire", &["types"]),
    ("config", &["types", "wire"]),
    ("service", &["types", "sync", "mem"]),
    ("host", &["types", "sync"]),
    ("transport", &["types", "sync", "mem"]),
    ("ring_paxos", &["types", "mem", "wire"]),
    ("multi_ring", &["types", "mem", "wire", "ring_paxos"]),
    ("storage", &["types", "mem", "wire", "host", "transport", "ring_paxos"]),
    ("replica", &["types", "sync", "mem", "wire", "service", "multi_ring"]),
    ("proxy", &["types", "wire", "service", "ring_paxos"]),
    (
        "sim",
        &[
            "types",
            "mem",
            "wire",
            "config",
            "service",
            "ring_paxos",
            "multi_ring",
            "replica",
            "proxy",
        ],
    ),
    ("node", LIBRARY),
    ("fuzz", &["wire", "config", "service", "storage", "replica", "sim", "cli", "types"]),
    ("ffi", LIBRARY),
    (
        "bench",
        &[
            "node",
            "sim",
            "config",
            "host",
            "service",
            "proxy",
            "replica",
            "types",
            "mem",
            "sync",
            "transport",
            "wire",
        ],
    ),
    (
        "cli",
        &[
            "bench",
            "sim",
            "node",
            "config",
            "proxy",
            "host",
            "types",
            "sync",
            "service",
            "transport",
            "wire",
        ],
    ),
];

/// What stands under the node.
const LIBRARY: &[&str] = &[
    "types",
    "sync",
    "mem",
    "wire",
    "config",
    "service",
    "host",
    "transport",
    "ring_paxos",
    "multi_ring",
    "storage",
    "replica",
    "proxy",
];

/// Where unsafe code may be.
const UNSAFE_HOMES: &[&str] = &[
    "src/sync/",
    "src/mem/",
    "src/host/",
    "src/ffi/",
    "src/transport/uring/",
    // System calls that no crate offers in a safe form.
    "src/transport/socket/calls.rs",
    "src/transport/udp/option.rs",
    "src/transport/xdp/",
];

/// Each module uses lower layers only.
pub(crate) fn layers(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(module) = source.module() else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            findings.push(format!(
                "{}: module `{module}` has no place among the layers: give it one in {}",
                source.path,
                file!()
            ));
            continue;
        };
        for line in source.product() {
            for used in line.code().split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
                let used = used.unwrap_or("");
                let is_module = LAYERS.iter().any(|(name, _)| *name == used);
                if is_module && used != module && !allowed.contains(&used) {
                    findings.push(format!(
                        "{}: `{module}` may not use `{used}`: pass in what it needs, move it down, \
                         or decide on a new edge in docs/adr",
                        source.at(line)
                    ));
                }
            }
        }
    }
    findings
}

/// Unsafe code stays in its homes.
pub(crate) fn unsafe_homes(sources: &[Source]) -> Vec<String> {
    let is_outside =
        |source: &Source| !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home));
    let has_unsafe = |line: &Line| {
        let mut words = line.code().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe")
    };
    found(
        sources,
        is_outside,
        has_unsafe,
        "unsafe code away from its homes: use a safe form, or a \
         wrapper in sync, mem, host or transport",
    )
}

/// A lease is minted by a replica, for one command.
pub(crate) fn leases(sources: &[Source]) -> Vec<String> {
    // The simulator's threads are one, and it looks at replicas only while they stand still.
    let homes = ["src/replica/", "src/sim/", "src/service/lease.rs"];
    let is_outside = |source: &Source| !homes.iter().any(|home| source.path.starts_with(home));
    let mints = |line: &Line| line.code().contains("Lease::mint");
    found(
        sources,
        is_outside,
        mints,
        "a lease is minted by `replica` alone: call a worker, or \
         `Shared::digest_at_rest`",
    )
}

/// Inside `sync`, one file names atomics, so that loom replaces them all.
pub(crate) fn atomics(sources: &[Source]) -> Vec<String> {
    let in_sync = |source: &Source| {
        source.path.starts_with("src/sync/") && source.path != "src/sync/atomic.rs"
    };
    let named = |line: &Line| {
        ["std::sync::atomic", "core::sync::atomic", "std::thread::park"]
            .iter()
            .any(|name| line.code().contains(name))
            && !line.code().contains("park_timeout as")
    };
    found(sources, in_sync, named, "loom does not see this: take it from `super::atomic`")
}

/// Time is an argument; the host reads it.
pub(crate) fn clocks(sources: &[Source]) -> Vec<String> {
    let is_outside = |source: &Source| !source.path.starts_with("src/host/");
    let reads = |line: &Line| {
        ["Instant::now", "SystemTime::now", "clock_gettime"]
            .iter()
            .any(|name| line.code().contains(name))
    };
    found(
        sources,
        is_outside,
        reads,
        "time is an argument: take `now`, or call host::clock once a \
         duty cycle",
    )
}

/// A panic says which invariant broke.
pub(crate) fn unwraps(sources: &[Source]) -> Vec<String> {
    let unwraps = |line: &Line| {
        let code = line.code();
        code.contains(".unwrap()") || code.contains(".unwrap_err()")
    };
    found(sources, |_| true, unwraps, "say the invariant with expect(\"..\"), or return the error")
}

/// Output belongs to the command line.
pub(crate) fn prints(sources: &[Source]) -> Vec<String> {
    let is_library =
        |source: &Source| !source.path.starts_with("src/cli/") && source.path != "src/main.rs";
    let prints = |line: &Line| line.code().contains("println!(") || line.code().contains("print!(");
    found(sources, is_library, prints, "a library prints nothing: return it to `cli`")
}

/// Files stay short.
pub(crate) fn lengths(sources: &[Source]) -> Vec<String> {
    let long = |source: &&Source| source.is_rust() && source.lines.len() > LONGEST_FILE;
    let finding = |source: &Source| {
        format!(
            "{}:{}: {} lines, at most {LONGEST_FILE}: split it by what it does",
            source.path,
            LONGEST_FILE + 1,
            source.lines.len()
        )
    };
    sources.iter().filter(long).map(finding).collect()
}

/// Every file opens by saying what it is.
pub(crate) fn openings(sources: &[Source]) -> Vec<String> {
    let silent = |source: &&Source| {
        let first = source.lines.iter().find(|line| !line.text.starts_with("#!"));
        source.is_rust() && !first.is_some_and(|line| line.text.starts_with("//!"))
    };
    let finding = |source: &Source| {
        format!("{}:1: opens without `//!`: say what it is and what it must never do", source.path)
    };
    sources.iter().filter(silent).map(finding).collect()
}

/// The lines of the product's Rust code in the `chosen` files that are `bad`.
fn found(
    sources: &[Source],
    chosen: impl Fn(&Source) -> bool,
    bad: impl Fn(&Line) -> bool,
    remedy: &str,
) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && chosen(source)) {
        let bad = source.product().filter(|line| bad(line));
        findings.extend(bad.map(|line| format!("{}: {remedy}", source.at(line))));
    }
    findings
}
