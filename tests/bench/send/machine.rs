//! What the kernel says.

/// Load averages of 1, 5 and 15 minutes, and the number of processors.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} on {cores} cores", averages.join(" "))
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    kib / 1024
}

/// Processor time that a process has used, in milliseconds.
pub fn cpu_ms(pid: u32) -> u64 {
    // Fields 14 and 15 count hundredths of a second; the name in field 2 may contain blanks.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = |index: usize| {
        fields.split_whitespace().nth(index).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    (ticks(11) + ticks(12)) * 10
}
