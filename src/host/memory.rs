//! How much memory this process may still take: what the machine has left, within the limits of the
//! process's control groups.

use super::describe::{field, number};
use std::fs;
use std::path::Path;

/// Where control groups are mounted, and their limit: of version 2, and of version 1.
const GROUPS: [(&str, &str, &str); 2] = [
    ("", "/sys/fs/cgroup", "memory.max"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Bytes that this process may still take, free pages of 2 MiB included. `None` if the kernel does
/// not say.
#[must_use]
pub fn available() -> Option<u64> {
    from_files(&|path| fs::read_to_string(path).ok())
}

fn from_files(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let memory = read(Path::new("/proc/meminfo"))?;
    let kib = |name| number(field(&memory, name)) * 1024;
    let free = kib("MemAvailable") + number(field(&memory, "HugePages_Free")) * kib("Hugepagesize");
    let limit = group_limit(read);
    Some(limit.map_or(free, |limit| limit.min(free))).filter(|&bytes| bytes > 0)
}

/// The lowest limit of the process's control groups and those that they are in.
fn group_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        // number:controllers:/path
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let known = GROUPS.iter().find(|(name, ..)| controllers.split(',').any(|c| c == *name));
        let Some((_, mount, file)) = known else { continue };
        for group in Path::new(path).ancestors() {
            let inside = group.strip_prefix("/").unwrap_or(group);
            let text = read(&Path::new(mount).join(inside).join(file)).unwrap_or_default();
            limits.extend(text.trim().parse::<u64>().ok());
        }
    }
    limits.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<u64> {
        from_files(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const MEMORY: (&str, &str) = (
        "/proc/meminfo",
        "MemTotal: 9 kB\nMemAvailable: 4096 kB\nHugePages_Free: 3\nHugepagesize: 2048 kB\n",
    );

    #[test]
    fn free_pages_of_both_sizes_count() {
        assert_eq!(of(&[MEMORY]), Some((4 << 20) + 3 * (2 << 20)));
        assert_eq!(of(&[]), None);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_control_group_limits_and_so_do_those_around_it() {
        let group = ("/proc/self/cgroup", "1:cpu:/a\n0::/a/b\n");
        let inner = ("/sys/fs/cgroup/a/b/memory.max", "max\n");
        let outer = ("/sys/fs/cgroup/a/memory.max", "5000\n");
        assert_eq!(of(&[MEMORY, group, inner]), of(&[MEMORY]));
        assert_eq!(of(&[MEMORY, group, inner, outer]), Some(5000));
        let old = ("/proc/self/cgroup", "4:memory:/job\n");
        let limit = ("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "7000\n");
        assert_eq!(of(&[MEMORY, old, limit]), Some(7000));
    }
}
