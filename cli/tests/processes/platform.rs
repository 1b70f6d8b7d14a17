//! A running platform: started in a temporary directory, queried, and stopped with all its processes.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http::{Answer, Client};
use crate::process;
use crate::wait;

/// The program `hearth`, as it was built with this test.
pub(crate) const HEARTH: &str = env!("CARGO_BIN_EXE_hearth");

/// Environment variable with the directory of all programs, for a machine that only runs tests and builds nothing.
const PROGRAMS: &str = "HEARTH_PROGRAMS";

/// The path of the program with this name, if `HEARTH_PROGRAMS` is set.
pub(crate) fn given(name: &str) -> Option<PathBuf> {
    std::env::var_os(PROGRAMS).map(|directory| Path::new(&directory).join(name))
}

/// The program `hearth`: the given one, or else the one that was built with this test.
pub(crate) fn hearth() -> PathBuf {
    given("hearth").unwrap_or_else(|| HEARTH.into())
}

/// The examples of `hearth-sdk` that are beside every manifest.
const EXAMPLES: [&str; 7] = [
    "probe",
    "skeleton",
    "lifecycle",
    "side",
    "pg",
    "caches",
    "blocking",
];

/// A gateway with plain HTTP only, on a port that the kernel chooses.
pub(crate) const HTTP_ONLY: &str =
    r#"gateway: { listen: { http: "127.0.0.1:0" }, access_log: true }"#;

/// One function that handles every path: the probe.
pub(crate) const PROBE: &str = r#"
functions:
  probe:
    routes: [{ path: "/{path+}" }]
    binary: probe
"#;

/// A directory with a manifest and the example functions. Dropping it deletes the directory.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// Writes this manifest, with `service` added to it, to a new temporary directory.
    pub(crate) fn new(manifest: &str) -> Place {
        Place::new_in(&std::env::temp_dir(), manifest)
    }

    /// As `new`, but below this directory.
    pub(crate) fn new_in(directory: &Path, manifest: &str) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hearth-test-{}-{number}", std::process::id());
        let place = Place(directory.join(name));
        place.fill(manifest);
        place
    }

    /// As `new`, in a directory that has the same name in every run of this build: `hearth build` passes the
    /// directories that it hides to the compiler, and Cargo compiles everything again when the flags change.
    pub(crate) fn new_as(name: &str, manifest: &str) -> Place {
        let mut hash = DefaultHasher::new();
        HEARTH.hash(&mut hash);
        let name = format!("hearth-test-{:016x}-{name}", hash.finish());
        let place = Place(std::env::temp_dir().join(name));
        // A run that was killed may have left the directory.
        let _ = fs::remove_dir_all(&place.0);
        place.fill(manifest);
        place
    }

    fn fill(&self, manifest: &str) {
        fs::create_dir(&self.0).unwrap();
        for example in EXAMPLES {
            symlink(examples().join(example), self.0.join(example)).unwrap();
        }
        self.write(manifest);
    }

    /// Replaces the manifest.
    pub(crate) fn write(&self, manifest: &str) {
        fs::write(self.manifest(), format!("service: test\n{manifest}")).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.0.join("edge.yaml")
    }

    /// The directory beside the manifest in which `hearth up` keeps its files.
    pub(crate) fn hearth_directory(&self) -> PathBuf {
        self.0.join(".hearth")
    }

    /// The state directory of this manifest's platform.
    pub(crate) fn state(&self) -> PathBuf {
        self.hearth_directory().join("edge.yaml")
    }

    /// A `hearth` command about this manifest, which the caller starts.
    pub(crate) fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(hearth());
        command.arg(verb).arg(self.manifest()).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a `hearth` command about this manifest to its end.
    pub(crate) fn hearth(&self, verb: &str, args: &[&str]) -> Output {
        self.command(verb, args).output().unwrap()
    }

    /// Runs `hearth up`, which is expected to fail. It is killed if it still runs after five seconds.
    pub(crate) fn up_to_its_end(&self) -> Output {
        let mut command = self.command("up", &["--log", "json"]);
        let mut up = command.stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        while up.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(5) {
                up.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        up.wait_with_output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running `hearth up`.
#[derive(Debug)]
pub(crate) struct Platform {
    up: Child,
    talk: Arc<Mutex<Vec<String>>>,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    pub(crate) place: Place,
}

impl Platform {
    /// Starts these functions behind plain HTTP and waits until all are ready.
    pub(crate) fn start(functions: &str) -> Platform {
        Platform::start_in(Place::new(&format!("{HTTP_ONLY}\n{functions}")))
    }

    /// Starts a place's manifest unchanged, and waits until all functions are ready.
    pub(crate) fn start_in(place: Place) -> Platform {
        let platform = Platform::begin(place);
        platform.wait_ready();
        platform
    }

    /// As `start_in`, with these environment variables.
    pub(crate) fn start_with(place: Place, environment: &[(&str, &Path)]) -> Platform {
        let platform = Platform::begin_with(place, environment);
        platform.wait_ready();
        platform
    }

    /// Starts a place's manifest, and waits until the platform answers `hearth status`.
    pub(crate) fn begin(place: Place) -> Platform {
        Platform::begin_with(place, &[])
    }

    /// As `start_in`, with these arguments instead of `--log json`.
    pub(crate) fn start_told(place: Place, args: &[&str]) -> Platform {
        let platform = Platform::launch(place, &[], args);
        platform.wait_ready();
        platform
    }

    fn begin_with(place: Place, environment: &[(&str, &Path)]) -> Platform {
        Platform::launch(place, environment, &["--log", "json"])
    }

    fn launch(place: Place, environment: &[(&str, &Path)], args: &[&str]) -> Platform {
        // Descriptor 9 is open and unknown to the platform. No child of the platform may inherit it.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$0" "$@" 9</dev/null"#])
            .arg(hearth());
        Platform::run(place, &mut command, environment, args)
    }

    /// Starts the platform with this command, and waits until it answers `hearth status`.
    pub(crate) fn run(
        place: Place,
        command: &mut Command,
        environment: &[(&str, &Path)],
        args: &[&str],
    ) -> Platform {
        let mut up = command
            .arg("up")
            .arg(place.manifest())
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let talk = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (up.stderr.take().unwrap(), Arc::clone(&talk));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        let mut platform = Platform {
            up,
            talk,
            http: None,
            https: None,
            place,
        };
        let status = wait::until("the platform can be asked", || {
            let ended = platform.up.try_wait().unwrap();
            assert!(ended.is_none(), "`hearth up` ended: {ended:?}");
            platform.try_status()
        });
        for listener in status["listeners"].as_array().unwrap() {
            let address = Some(listener["address"].as_str().unwrap().parse().unwrap());
            match listener["scheme"].as_str() {
                Some("http") => platform.http = address,
                Some("https") => platform.https = address,
                other => panic!("a listener for {other:?}"),
            }
        }
        platform
    }

    /// Waits until every worker of every function is ready and the gateway runs.
    pub(crate) fn wait_ready(&self) -> Value {
        let is_ready = |one: &Value| one["state"] == "ready";
        let all_ready = |function: &Value| {
            let mut workers = function["workers"].as_array().unwrap().iter();
            // An idle function has no worker until it gets a request.
            (is_ready(function) || function["state"] == "idle") && workers.all(is_ready)
        };
        wait::until("all functions are ready", || {
            let status = self.try_status()?;
            let ready = status["functions"].as_array()?.iter().all(all_ready);
            (ready && status["gateway"]["pid"].is_u64()).then_some(status)
        })
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.expect("it listens for http")
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https.expect("it listens for https")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.http())
    }

    /// Sends one request on a new connection.
    pub(crate) fn ask(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.connect().ask(line, headers, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target}"), &[], b"")
    }

    /// The output of `hearth status --json`.
    pub(crate) fn status(&self) -> Value {
        self.try_status().expect("the platform answers")
    }

    fn try_status(&self) -> Option<Value> {
        let output = self.place.hearth("status", &["--json"]);
        let said = serde_json::from_slice(&output.stdout);
        output.status.success().then(|| said.unwrap())
    }

    /// A function's part of the status.
    pub(crate) fn function(&self, name: &str) -> Value {
        let status = self.status();
        let functions = status["functions"].as_array().unwrap();
        let found = functions.iter().find(|one| one["name"] == name);
        found.unwrap().clone()
    }

    /// The process id of a function's only worker.
    pub(crate) fn worker(&self, function: &str) -> u32 {
        let workers = self.function(function)["workers"].clone();
        assert_eq!(workers.as_array().unwrap().len(), 1, "{workers}");
        pid(&workers[0])
    }

    /// The number of a function's only worker, as the worker itself knows it.
    pub(crate) fn worker_number(&self, function: &str) -> u64 {
        let worker = self.function(function)["workers"][0]["id"].clone();
        worker
            .as_u64()
            .unwrap_or_else(|| panic!("no worker: {worker}"))
    }

    pub(crate) fn gateway(&self) -> u32 {
        pid(&self.status()["gateway"])
    }

    pub(crate) fn supervisor(&self) -> u32 {
        self.up.id()
    }

    /// The records of `hearth logs`.
    pub(crate) fn logs(&self) -> Vec<Value> {
        let output = self.place.hearth("logs", &["--json", "-n", "10000"]);
        assert!(output.status.success(), "{output:?}");
        records(&output.stdout)
    }

    /// Waits for a log record that satisfies `fits`.
    pub(crate) fn wait_for_record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, || self.logs().into_iter().find(&fits))
    }

    /// The records that `hearth up` has printed so far. They can still be read after its end.
    pub(crate) fn printed(&self) -> Vec<Value> {
        let lines = self.talk.lock().unwrap().join("\n");
        records(lines.as_bytes())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.up.id(), signal);
    }

    /// Waits until `hearth up` has ended.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        wait::until("`hearth up` ends", || self.up.try_wait().unwrap())
    }

    /// Ends the platform with this signal. Returns its exit status and the directory that it leaves behind.
    pub(crate) fn end(mut self, signal: Signal) -> (ExitStatus, Place) {
        self.signal(signal);
        let status = self.wait_end();
        let nothing = Place(PathBuf::new());
        (status, std::mem::replace(&mut self.place, nothing))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(talk) = self.talk.lock()
        {
            println!("what `hearth up` printed:\n{}", talk.join("\n"));
        }
        let started = process::children(self.up.id());
        let _ = self.up.kill();
        let _ = self.up.wait();
        if !std::thread::panicking() {
            process::wait_until_gone(&started, Duration::from_secs(5));
        }
    }
}

pub(crate) fn pid(process: &Value) -> u32 {
    let pid = process["pid"].as_u64();
    pid.unwrap_or_else(|| panic!("it does not run: {process}")) as u32
}

fn records(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The directory with the examples of `hearth-sdk`, which are built once.
fn examples() -> &'static Path {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let args = ["--package", "hearth-sdk", "--examples", "--all-features"];
        let built = || build(&args).map(|directory| directory.join("examples"));
        given("").or_else(built)
    });
    built.as_deref().expect("the examples can be built")
}

/// The path of one of the functions in `examples/`, all of which are built once.
pub(crate) fn function(name: &str) -> PathBuf {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let packages = [
            "--package",
            "hearth-examples",
            "--package",
            "hello",
            "--package",
            "items_postgres",
        ];
        build(&packages)
    });
    let built = built.as_deref().expect("the functions can be built");
    built.join(name)
}

/// Environment variable that `cargo xtask test` sets after it has built the whole workspace. Building only some
/// packages would give their dependencies other features, and compile most of them again.
const BUILT: &str = "HEARTH_WORKSPACE_BUILT";

/// Builds into the directory that contains `hearth`. Returns that directory, or `None` if the build fails.
pub(crate) fn build(args: &[&str]) -> Option<PathBuf> {
    let profile = Path::new(HEARTH).parent().unwrap();
    if std::env::var_os(BUILT).is_some() {
        return Some(profile.to_owned());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(args);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // Cargo runs in the package's directory, where Cargo also starts tests.
    let built = cargo.status();
    built.unwrap().success().then(|| profile.to_owned())
}
