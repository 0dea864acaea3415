//! The rules of this repository that no compiler knows, read off the sources.
//!
//! Each rule names what it found as `file:line` with the remedy. A rule that is in the way is
//! changed here, with a decision in docs/adr.

mod rules {
    pub(crate) mod code;
    pub(crate) mod source;
    pub(crate) mod text;
}

use rules::source::Source;
use rules::{code, text};
use std::path::Path;

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Source::read_all(root).expect("the repository is readable");
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "read from the wrong place");
    sources
}

fn check(rule: impl Fn(&[Source]) -> Vec<String>) {
    let findings = rule(&repository());
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Each rule must find what it is for: one bad file a rule.
fn finds(rule: impl Fn(&[Source]) -> Vec<String>, path: &str, text: &str, expected: &str) {
    let findings = rule(&[Source::new(path, text)]);
    assert!(
        findings.iter().any(|finding| finding.contains(expected)),
        "`{expected}` is not among {findings:?}"
    );
}

#[test]
fn modules_use_lower_layers_only() {
    check(code::layers);
    finds(code::layers, "src/wire/x.rs", "\nuse crate::node::Load;\n", "src/wire/x.rs:2");
    finds(code::layers, "src/novel/x.rs", "", "has no place among the layers");
    let in_a_test = "#[cfg(test)]\nmod tests {\n    use crate::node::Load;\n}\n";
    assert!(code::layers(&[Source::new("src/wire/x.rs", in_a_test)]).is_empty());
}

#[test]
fn unsafe_code_stays_in_its_homes() {
    check(code::unsafe_homes);
    finds(code::unsafe_homes, "src/proxy/x.rs", "fn f() {\n    unsafe { g() }\n}", "x.rs:2");
}

#[test]
fn leases_are_minted_by_replicas_alone() {
    check(code::leases);
    finds(code::leases, "src/node/x.rs", "let l = Lease::mint(Access::Whole);", "x.rs:1");
}

#[test]
fn sync_names_its_atomics_in_one_file() {
    check(code::atomics);
    finds(code::atomics, "src/sync/x.rs", "use std::sync::atomic::AtomicBool;", "x.rs:1");
}

#[test]
fn the_clock_is_read_in_one_file() {
    check(code::clocks);
    finds(code::clocks, "src/sim/x.rs", "\nlet t = std::time::Instant::now();", "x.rs:2");
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(code::unwraps);
    finds(code::unwraps, "src/wire/x.rs", "\n\nx.unwrap();", "src/wire/x.rs:3");
}

#[test]
fn the_library_prints_nothing() {
    check(code::prints);
    finds(code::prints, "src/node/x.rs", "println!(\"here\");", "src/node/x.rs:1");
}

#[test]
fn a_file_does_one_thing_and_says_which() {
    check(code::lengths);
    check(code::openings);
    finds(code::lengths, "src/wire/x.rs", &"\n".repeat(601), "601 lines");
    finds(code::openings, "src/wire/x.rs", "use crate::types;\n", "opens without");
}

#[test]
fn texts_name_what_is_in_the_repository_alone() {
    check(text::markdown_names);
    check(text::decision_names);
    check(text::outside_paths);
    finds(text::markdown_names, "src/x.rs", "//! See docs/NOWHERE.md.", "src/x.rs:1");
    finds(text::decision_names, "src/x.rs", "// as docs/adr/0999 says", "src/x.rs:1");
    finds(text::outside_paths, "README.md", &format!("cat {}me/x", "/ho"), "README.md:1");
}

#[test]
fn decisions_have_numbers_of_their_own_and_four_parts() {
    check(text::decisions);
    let path = "docs/adr/0999-x.md";
    finds(text::decisions, path, "# 0998 X\n\n## Context\n", "its title starts with");
    finds(text::decisions, path, "# 0999 X\n\n## Context\n", "no part `Decision`");
}
