//! The program in namespaces of its own: network, mounts and processes. Whatever it makes there ends
//! with it, however it ends: nothing is left to clean up, not even after `kill -9`.

use psmr::host::signals::Termination;
use std::env;
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set inside.
const INSIDE: &str = "PSMR_CHAOS_INSIDE";
const NAMESPACES: [&str; 6] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Whether this process is inside already.
pub(crate) fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Replaces this process by the same program inside. Returns why that cannot be.
pub(crate) fn enter() -> String {
    for device in ["/dev/net/tun", "/dev/fuse"] {
        if let Err(error) = OpenOptions::new().read(true).write(true).open(device) {
            return format!("no networks and disks of one's own: {device}: {error}; run as root");
        }
    }
    let probe = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "mount -t tmpfs none /run && ip netns add probe"])
        .stdin(Stdio::null())
        .output();
    match probe {
        Err(error) => return format!("unshare (of util-linux) does not run: {error}"),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            return format!(
                "no namespaces of one's own: {}; run as root, with iproute2",
                said.trim()
            );
        }
        Ok(_) => {}
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("this program has no path: {error}"),
    };
    let error = Command::new("unshare")
        .args(NAMESPACES)
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    format!("unshare does not run: {error}")
}

/// Makes the inside ready: names for networks, and an end by signals, which the first process of a
/// namespace does not hear of by itself.
pub(crate) fn settle() -> io::Result<()> {
    let termination = Termination::block()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while !termination.wait(Duration::from_secs(3600)) {}
        leave()
    })?;
    run(&["mount", "-t", "tmpfs", "none", "/run"])?;
    run(&["ip", "link", "set", "lo", "up"])
}

#[expect(clippy::exit, reason = "the whole namespace ends with it, which is the point")]
fn leave() -> ! {
    std::process::exit(130)
}

/// Runs a program of the system to its good end.
pub(crate) fn run(words: &[&str]) -> io::Result<()> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{}`: {}", words.join(" "), said.trim())))
}

/// Time namespaces with zeros hours apart: no two hosts agree on the monotonic clock, and a restart
/// may bring another one. None where the kernel has no such namespaces.
pub(crate) fn clocks() -> Vec<PathBuf> {
    let make = |hours: u32| {
        let path = PathBuf::from(format!("/run/clock-{hours}"));
        fs::write(&path, "").ok()?;
        let (file, zero) = (format!("--time={}", path.display()), (hours * 3600).to_string());
        let made =
            run(&["unshare", &file, "--monotonic", &zero, "--boottime", &zero, "--fork", "true"]);
        made.ok().map(|()| path)
    };
    [1, 50, 3, 700].into_iter().map_while(make).collect()
}
