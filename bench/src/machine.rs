//! The machine of the run, and programs that are installed on it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::available_parallelism;

use tokio::process::Command;

/// Description of the machine, which readers need to interpret the results.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Total memory in bytes.
    pub(crate) memory: u64,
    pub(crate) rustc: String,
    /// Date in UTC, such as `2026-11-23`.
    pub(crate) date: String,
    /// Load average over the minute before the run. Above 0.5, other processes were running.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) async fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        // Arm kernels report the name of the board there, but not that of the CPU.
        let cpu = field(&cpuinfo, "model name").or_else(|| field(&cpuinfo, "Model"));
        let memory = field(&meminfo, "MemTotal")
            .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
        let unknown = || "unknown".to_owned();
        Machine {
            cpu: cpu.map_or_else(|| format!("{} CPU", env::consts::ARCH), str::to_owned),
            cores: available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory: memory.unwrap_or_default() * 1024,
            rustc: first_line("rustc", &["--version"])
                .await
                .unwrap_or_else(unknown),
            date: first_line("date", &["-u", "+%F"])
                .await
                .unwrap_or_else(unknown),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// Returns the value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

/// Finds a program in PATH or in the `sbin` directories, which are often not in a user's PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(more);
    places.find_map(|place| Some(place.join(name)).filter(|path| path.is_file()))
}

/// Runs a program and returns the first line that it prints. Both outputs and every exit status are accepted, because
/// programs print their version in all these ways. Returns `None` if the program cannot be run or prints nothing.
pub(crate) async fn first_line(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: A CPU @ 3: fast\nmodel name\t: another\n";
        assert_eq!(field(text, "model name"), Some("A CPU @ 3: fast"));
        assert_eq!(field(text, "name"), None);
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-anywhere").is_none());
    }
}
