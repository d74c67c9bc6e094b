//! How much memory this process ever had.

/// The largest body or record has 4 MiB; parsed, one made to hurt takes up to a hundredfold of it,
/// and the properties run side by side.
const RESIDENT_KIB_MAX: u64 = 768 * 1024;

/// Panics when the process ever had more memory in use than the properties may need together.
pub fn assert_bounded() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak is there");
    let peak = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let peak = peak.expect("a number of KiB");
    assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB were in use, at most {RESIDENT_KIB_MAX} may be");
}
