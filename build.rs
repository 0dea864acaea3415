//! Says which commit the sources are of, for `psmr --version`, reports and failures: `PSMR_COMMIT`
//! is 12 digits, with `-dirty` if a source was changed since, or `unknown`. It must never fail:
//! sources from an archive have no commit.
//!
//! Whenever this has run cargo compiles the whole crate again, so it runs only when its answer may
//! be another one (docs/adr/0037): when a source has changed, and, where changes were not
//! committed, when something is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is made of.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where"));
    // Whatever is watched must be there: cargo takes what is missing for changed, each time.
    for source in SOURCES.iter().filter(|source| root.join(source).exists()) {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rustc-env=PSMR_COMMIT={}", commit(&root).as_deref().unwrap_or("unknown"));
}

fn commit(root: &Path) -> Option<String> {
    // A copy of the sources may lie in somebody else's repository.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let head = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let status = git(root, &[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    if status.is_empty() {
        return Some(head);
    }
    watch_commits(root);
    Some(head + "-dirty")
}

/// Has this run again once HEAD stands elsewhere, also in a work tree of its own.
fn watch_commits(root: &Path) {
    let path = |name| git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
    let present = |name| path(name).filter(|path| path.exists());
    // The first alone has every move of HEAD, but can be switched off.
    let watched = present("logs/HEAD").map_or_else(
        || ["HEAD", "refs/heads", "reftable"].into_iter().filter_map(present).collect(),
        |log| vec![log],
    );
    for path in watched {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// What git prints, if it is there and content.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Set in hooks, where they may mean another tree.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command
        .current_dir(root)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
