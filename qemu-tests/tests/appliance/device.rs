//! A device under test: a machine with its own disk, observed through its network and its console.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hearth_qemu_tests::{Machine, Running};
use serde_json::Value;

use crate::lab::Lab;

/// Time limit from switching on to a response: firmware if it has any, kernel, init and platform.
pub(crate) const BOOT: Duration = Duration::from_secs(60);

/// Size of disks in bytes. It is larger than the image, so that the data partition can grow.
const DISK: u64 = 1 << 30;

/// The device's ports: HTTP, HTTPS, and the saboteur.
const PORTS: [u16; 3] = [80, 443, SABOTEUR];
const SABOTEUR: u16 = 7777;

/// A device that is off.
pub(crate) struct Device {
    pub(crate) machine: Machine,
}

/// A device that is on.
pub(crate) struct On {
    pub(crate) running: Running,
}

impl Device {
    /// Creates a device whose disk holds an image. QEMU starts it without firmware.
    pub(crate) fn new(name: &str, image: &Path) -> Device {
        let lab = Lab::get();
        let mut machine = Machine::new(&lab.place, name, lab.arch, image).unwrap();
        machine.enlarge(DISK).unwrap();
        machine.ports = PORTS.to_vec();
        machine.kernel = Some(lab.kernel.clone());
        Device { machine }
    }

    /// Makes UEFI firmware start the device. For tests of what runs before the kernel, of what the firmware stores,
    /// and of what only a machine with firmware has.
    pub(crate) fn by_firmware(mut self) -> Device {
        self.machine.kernel = None;
        self
    }

    /// Creates a device with the image of the function `hello`.
    pub(crate) fn hello(name: &str) -> Device {
        Device::new(name, &Lab::get().image)
    }

    /// Switches the device on.
    pub(crate) fn on(&mut self) -> On {
        On {
            running: self.machine.boot(Lab::get().speed).unwrap(),
        }
    }

    /// Switches the device on and waits until it answers.
    pub(crate) fn boot(&mut self) -> On {
        let on = self.on();
        on.serves();
        on
    }
}

impl On {
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        self.running.guest.address(port)
    }

    /// Waits until the device has started and answers. A request before the device has an address would wait for
    /// seconds, because QEMU's forwarder would lose the first segment of the connection.
    pub(crate) fn serves(&self) {
        self.says("== https://", BOOT);
        self.answers(BOOT);
    }

    /// Waits until the device has been reset and answers again.
    pub(crate) fn restarts(&mut self) {
        // Before the reset, the old system still answers.
        self.running.event("RESET", BOOT).unwrap();
        self.serves();
    }

    /// Waits until `hello` answers over TLS. Returns how long that took.
    pub(crate) fn answers(&self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let limit = Lab::get().speed.scale(limit);
        loop {
            match self.get("https", "/") {
                Ok(body) if body.contains("hello") => {
                    self.running.guest.booted();
                    return begun.elapsed();
                }
                other => assert!(
                    begun.elapsed() < limit,
                    "no answer within {limit:?}: {other:?}; its console: {}",
                    self.running.guest.log().display()
                ),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Requests a path. Returns the body of a successful response.
    pub(crate) fn get(&self, scheme: &str, path: &str) -> Result<String, String> {
        self.ask(scheme, &[], path)
    }

    /// Requests a path with more arguments for curl.
    pub(crate) fn ask(&self, scheme: &str, words: &[&str], path: &str) -> Result<String, String> {
        let port = match scheme {
            "https" => 443,
            _ => 80,
        };
        curl(words, &format!("{scheme}://{}{path}", self.address(port)))
    }

    /// Requests a path over TLS at an address or name, on the standard port.
    pub(crate) fn get_of(&self, host: &str, path: &str) -> Result<String, String> {
        curl(&[], &format!("https://{host}{path}"))
    }

    /// Checks that the login function of `examples/edge.yaml` answers.
    pub(crate) fn logs_in(&self) {
        let login = [
            "-H",
            "Host: auth.example.com",
            "-d",
            r#"{"username":"demo","password":"warm-hearth"}"#,
        ];
        let answer = self.ask("https", &login, "/login").unwrap();
        assert!(answer.contains("token"), "{answer}");
    }

    /// Sends an order to the saboteur inside, and returns its output. The order must succeed.
    pub(crate) fn order(&self, words: &[&str]) -> String {
        self.order_within(words, Duration::from_secs(30))
    }

    pub(crate) fn order_within(&self, words: &[&str], limit: Duration) -> String {
        let told = self.obeyed(words, limit);
        told.unwrap_or_else(|why| panic!("{words:?}: {why}"))
    }

    /// Sends an order after which the saboteur cannot answer.
    pub(crate) fn order_blindly(&self, words: &[&str]) {
        let mut stream = TcpStream::connect(self.address(SABOTEUR)).unwrap();
        writeln!(stream, "{}", words.join("\t")).unwrap();
    }

    /// Sends an order to the saboteur inside, and returns its output or its error.
    pub(crate) fn try_order(&self, words: &[&str]) -> Result<String, String> {
        self.obeyed(words, Duration::from_secs(30))
    }

    fn obeyed(&self, words: &[&str], limit: Duration) -> Result<String, String> {
        let limit = Lab::get().speed.scale(limit);
        let said = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address(SABOTEUR))?;
            stream.set_read_timeout(Some(limit))?;
            writeln!(stream, "{}", words.join("\t"))?;
            let mut told = Vec::new();
            stream.read_to_end(&mut told)?;
            Ok(String::from_utf8_lossy(&told).into_owned())
        };
        let told = said().map_err(|error| error.to_string())?;
        match told.strip_prefix("error ") {
            Some(why) => Err(why.to_owned()),
            None => Ok(told),
        }
    }

    /// Runs a program inside, which must succeed, and returns its output.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let told = self.order(&[&["run"], words].concat());
        match told.strip_suffix("exit 0\n") {
            Some(said) => said.to_owned(),
            None => panic!("{words:?}: {told}"),
        }
    }

    /// Reads a JSON file inside.
    pub(crate) fn json(&self, path: &str) -> Value {
        let text = self.order(&["read", path]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Reads init's report of the boot.
    pub(crate) fn boot_told(&self) -> Value {
        self.json("/run/hearth/boot.json")
    }

    /// Returns a value of /proc/meminfo in kB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let text = self.order(&["read", "/proc/meminfo"]);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap()
    }

    /// Waits for a line of the console that contains `marker`.
    pub(crate) fn says(&self, marker: &str, limit: Duration) -> String {
        self.running.guest.expect(marker, limit).unwrap()
    }

    /// Waits until the device has switched itself off.
    pub(crate) fn goes_off(mut self, limit: Duration) {
        let status = self.running.guest.wait_off(limit).unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Requests a URL with curl. Returns the body of a successful response.
fn curl(words: &[&str], target: &str) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["-k", "-sS", "-f", "--max-time", "10"]);
    let output = curl.args(words).arg(target).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
