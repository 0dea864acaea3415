//! The machine in one record, for reports: a figure without its machine says nothing.

use super::affinity::allowed_cpus;
use super::text::counted;
use serde::Serialize;
use std::fmt;
use std::fs;

/// What a figure depends on. Unknown text is empty, an unknown number 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The processor's name.
    pub cpu: String,
    /// Logical CPUs that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// 2 MiB pages that are reserved, used or not.
    pub huge_pages: u64,
    /// 2 MiB pages that are free.
    pub huge_pages_free: u64,
    /// Transparent huge pages: always, madvise or never.
    pub transparent_huge_pages: String,
    /// The largest receive buffer that a socket may ask for, bytes.
    pub receive_buffer_limit_bytes: u64,
    /// Whether debug assertions are on: then the figure is not one.
    pub debug_build: bool,
}

impl Description {
    /// This machine.
    #[must_use]
    pub fn read() -> Self {
        Self::from_files(&|path| fs::read_to_string(path).ok(), allowed_cpus().len())
    }

    fn from_files(read: &dyn Fn(&str) -> Option<String>, cores: usize) -> Self {
        let file = |path| read(path).unwrap_or_default();
        let word = |path| file(path).trim().to_owned();
        let memory = file("/proc/meminfo");
        let transparent = file("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpu: field(&file("/proc/cpuinfo"), "model name").to_owned(),
            cores,
            memory_bytes: number(field(&memory, "MemTotal")) * 1024,
            kernel: word("/proc/sys/kernel/osrelease"),
            system: field(&file("/etc/os-release").replace('=', ":"), "PRETTY_NAME")
                .trim_matches('"')
                .to_owned(),
            huge_pages: number(field(&memory, "HugePages_Total")),
            huge_pages_free: number(field(&memory, "HugePages_Free")),
            transparent_huge_pages: bracketed(&transparent).to_owned(),
            receive_buffer_limit_bytes: number(&word("/proc/sys/net/core/rmem_max")),
            debug_build: cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory_gib = self.memory_bytes.div_ceil(1 << 30);
        write!(f, "{} of {}, {memory_gib} GiB, ", counted(self.cores, "core"), self.cpu)?;
        write!(f, "{}, Linux {}", self.system, self.kernel)?;
        if self.debug_build {
            write!(f, ", debug build")?;
        }
        Ok(())
    }
}

/// The value of the first line `name : value`.
pub(super) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
}

/// The number that `text` starts with.
pub(super) fn number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The word that is chosen in `always [madvise] never`.
fn bracketed(text: &str) -> &str {
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_from_the_kernels_files() {
        let read = |path: &str| {
            let text = match path {
                "/proc/cpuinfo" => "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\n",
                "/proc/meminfo" => "MemTotal: 2048 kB\nHugePages_Total:  7\nHugePages_Free:   3\n",
                "/proc/sys/kernel/osrelease" => "6.1.0-1\n",
                "/etc/os-release" => "ID=debian\nPRETTY_NAME=\"Debian 12\"\n",
                "/sys/kernel/mm/transparent_hugepage/enabled" => "always [madvise] never\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let host = Description::from_files(&read, 4);
        assert_eq!(host.cpu, "Some CPU @ 2.50GHz");
        assert_eq!((host.memory_bytes, host.huge_pages, host.huge_pages_free), (2 << 20, 7, 3));
        assert_eq!((host.system.as_str(), host.kernel.as_str()), ("Debian 12", "6.1.0-1"));
        assert_eq!(host.transparent_huge_pages, "madvise");
        assert_eq!(host.receive_buffer_limit_bytes, 0, "unknown");
    }

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let host = Description::read();
        assert!(host.cores > 0 && !host.kernel.is_empty() && host.memory_bytes > 0);
        assert!(serde_json::to_string(&host).unwrap().contains("\"kernel\":"));
    }
}
