//! tuning/host.sh on a machine of files, and the unit as systemd reads it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a stock machine has where the script looks.
const STOCK: &[(&str, &str)] = &[
    ("proc/cmdline", "root=/dev/sda1 ro"),
    ("proc/sys/net/core/rmem_max", "212992"),
    ("proc/sys/net/core/wmem_max", "99999999"),
    ("proc/sys/vm/nr_hugepages", "0"),
    ("proc/sys/kernel/numa_balancing", "1"),
    ("proc/irq/31/smp_affinity_list", "0-7"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "2"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/disable", "0"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "133"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
    ("sys/class/net/psmrtest/device/msi_irqs/31", "msix"),
];

/// A machine of files, removed at the end.
struct Machine(PathBuf);

impl Machine {
    fn stock(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        for (path, text) in STOCK {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            fs::write(path, format!("{text}\n")).expect("a file");
        }
        fs::create_dir_all(root.join("run")).expect("a directory");
        Self(root)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/host.sh");
        let mut command = Command::new("bash");
        command.arg(script).args(arguments).env("PSMR_ROOT", &self.0);
        command.output().expect("bash runs")
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file").trim().to_owned()
    }

    fn all(&self) -> Vec<String> {
        STOCK.iter().map(|(path, _)| self.text(path)).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const APPLY: &[&str] = &["apply", "--nic", "psmrtest", "--irq-cpus", "0"];

#[test]
fn a_check_names_what_differs_and_changes_nothing() {
    let machine = Machine::stock("tuning_check");
    let before = machine.all();
    let output = machine.run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("/proc/sys/net/core/rmem_max: 212992, wanted 8388608"), "{said}");
    assert!(!said.contains("wmem_max"), "more than is wanted stays: {said}");
    assert_eq!(machine.all(), before);
}

#[test]
fn what_is_applied_twice_is_applied_once_and_undone_whole() {
    let machine = Machine::stock("tuning_apply");
    assert_eq!(machine.run(APPLY).status.code(), Some(0));
    for (path, expected) in [
        ("proc/sys/net/core/rmem_max", "8388608"),
        ("proc/sys/net/core/wmem_max", "99999999"),
        ("proc/sys/vm/nr_hugepages", "512"),
        ("proc/irq/31/smp_affinity_list", "0"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
        ("sys/devices/system/cpu/cpu0/cpuidle/state0/disable", "0"),
        ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1"),
    ] {
        assert_eq!(machine.text(path), expected, "{path}");
    }
    let applied = machine.all();
    assert_eq!(machine.run(&["check", "--nic", "psmrtest"]).status.code(), Some(0));
    assert_eq!(machine.run(&[APPLY, &["--hugepages", "600"]].concat()).status.code(), Some(0));
    assert_eq!(machine.text("proc/sys/vm/nr_hugepages"), "600");
    assert_eq!(machine.run(APPLY).status.code(), Some(0));
    assert_ne!(machine.all(), applied, "more than is wanted stays");

    assert_eq!(machine.run(&["undo"]).status.code(), Some(0));
    for (path, text) in STOCK {
        // A real choice file shows its brackets again; one of ours holds what was written.
        let expected = if text.starts_with('[') { "always" } else { text };
        assert_eq!(machine.text(path), expected, "{path}");
    }
    assert_eq!(machine.run(&["undo"]).status.code(), Some(0), "nothing is left to undo");
}

#[test]
fn bad_input_is_named() {
    let machine = Machine::stock("tuning_input");
    for (arguments, part) in [
        (&["frobnicate"][..], "check, apply or undo"),
        (&["check", "--colour", "red"], "--colour"),
        (&["check", "--hugepages", "many"], "--hugepages many"),
        (&["check", "--nic", "none0"], "--nic none0"),
    ] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{arguments:?}");
    }
}

#[test]
fn systemd_understands_the_unit_and_finds_it_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/psmr@.service");
    let text = fs::read_to_string(unit).expect("it is there");
    let known = text.replace("/usr/local/bin/psmr", env!("CARGO_BIN_EXE_psmr"));
    assert_ne!(text, known);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuning_unit");
    fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("psmr@.service");
    fs::write(&path, known).expect("a file");
    let analyze = |arguments: &[&str]| {
        Command::new("systemd-analyze").args(arguments).arg(&path).output().ok()
    };
    let Some(verified) = analyze(&["verify"]) else {
        let _ = writeln!(std::io::stderr(), "skipped: there is no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("psmr")).collect();
    assert!(verified.status.success() && of_ours.is_empty(), "{said}");
    // In tenths, of 100; what is left are the sockets that it needs.
    let rated = analyze(&["security", "--offline=true", "--threshold=20"]).expect("it was there");
    let said = String::from_utf8_lossy(&rated.stdout);
    assert!(rated.status.success(), "{said}");
}
