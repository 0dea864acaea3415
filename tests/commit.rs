//! The build script: which commit a binary says that it is of, and when it is built again for it.
#![expect(clippy::print_stdout, reason = "tests say what they left out")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// A crate with our build script, which prints its commit; removed when dropped.
struct Crate(PathBuf);

impl Crate {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let root = std::env::temp_dir().join(format!("psmr-{id}-{name}")).join("crate");
        fs::create_dir_all(root.join("src")).expect("a temporary directory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        fs::copy(script, root.join("build.rs")).expect("it is there");
        let new = Self(root);
        new.write("Cargo.toml", "[package]\nname = \"told\"\nedition = \"2024\"\n\n[workspace]\n");
        new.write("src/main.rs", "fn main() { print!(\"{}\", env!(\"PSMR_COMMIT\")); }\n");
        new.write(".gitignore", "target\n");
        new
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file of ours");
    }

    /// The commit that the binary says, built if it has to be, and when that was.
    fn told(&self) -> (String, SystemTime) {
        let mut cargo = Command::new(env!("CARGO"));
        let build = cargo.args(["build", "--quiet", "--offline", "--target-dir", "target"]);
        let status = build.current_dir(&self.0).status().expect("cargo runs the tests");
        assert!(status.success());
        let binary = self.0.join("target/debug/told");
        let output = Command::new(&binary).output().expect("just built");
        let built = fs::metadata(binary).and_then(|data| data.modified()).expect("a file");
        (String::from_utf8(output.stdout).expect("UTF-8"), built)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"];
        let mut git = Command::new("git");
        // Whoever runs the tests may sign commits, or be in the middle of one.
        git.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE");
        let output = git.args(somebody).args(arguments).current_dir(&self.0).output();
        let output = output.expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Commits all that is there. Its name.
    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "some"]);
        self.git(&["rev-parse", "--short=12", "HEAD"])
    }
}

impl Drop for Crate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().expect("made with one"));
    }
}

fn has_git() -> bool {
    let has = Command::new("git").arg("--version").output().is_ok();
    if !has {
        println!("skipped: git is missing");
    }
    has
}

#[test]
fn a_binary_names_the_commit_of_its_sources_and_is_built_again_only_for_another_one() {
    if !has_git() {
        return;
    }
    let sources = Crate::new("commit");
    sources.git(&["init", "--quiet"]);
    assert_eq!(sources.told().0, "unknown", "no commit");
    let first = sources.commit();
    sources.write("src/other.rs", "");
    assert_eq!(sources.told().0, format!("{first}-dirty"), "a file that no commit has");
    let second = sources.commit();
    let (told, built) = sources.told();
    assert_eq!(told, second, "no source has changed, but what was is committed");
    sources.write("README", "some text");
    let third = sources.commit();
    assert_eq!(sources.told(), (second, built), "{third} has the same sources");
    sources.git(&["checkout", "--quiet", &first]);
    assert_eq!(sources.told().0, first);
    fs::OpenOptions::new()
        .append(true)
        .open(sources.0.join("src/main.rs"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"// More.\n"))
        .expect("a file of ours");
    let (told, built) = sources.told();
    assert_eq!(told, format!("{first}-dirty"));
    assert_eq!(sources.told(), (told, built), "nothing has happened");
}

#[test]
fn sources_without_their_history_are_of_no_known_commit() {
    let sources = Crate::new("archive");
    let (told, built) = sources.told();
    assert_eq!(told, "unknown");
    assert_eq!(sources.told(), (told, built), "nothing has happened");
    if !has_git() {
        return;
    }
    // A copy in somebody else's repository.
    let outer = Crate(sources.0.parent().expect("made with one").join("."));
    outer.git(&["init", "--quiet"]);
    outer.commit();
    sources.write("src/other.rs", "");
    assert_eq!(sources.told().0, "unknown");
    std::mem::forget(outer);
}
