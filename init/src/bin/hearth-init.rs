//! PID 1 of the appliance: from the kernel's hand to the end of the machine. This is the boot; what each line
//! does is in the library.

use std::process::ExitCode;
use std::time::Duration;

use hearth_init::act::root::MOVED;
use hearth_init::dry::{World, tell};
use hearth_init::facts::word;
use hearth_init::kernel_log::KernelLog;
use hearth_init::plan::{Fatal, Walk};
use hearth_init::run::Runner;
use hearth_init::serve::{self, End};
use hearth_init::stop::stop;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};

const HELP: &str = "\
PID 1 of the Hearth appliance: the kernel starts it as /init.

usage: hearth-init --dry-run [FACT ...]   tell the boot that these facts make, and do nothing
       hearth-init --help

facts: disk=NAME[:mbr]  trial  reset=esp  reset=data  lost  fails=STEP  fails-once=STEP
       (STEP is how the line of a step begins; lost: data is beyond repair)
";

/// How long a reason can be read before the machine restarts.
const COUNTDOWN: u32 = 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    // What the kernel does not know of its command line it hands to PID 1, for whom it means nothing.
    if std::process::id() != 1 {
        return not_first(&args);
    }
    std::panic::set_hook(Box::new(|info| {
        end_early(&format!("a fault of hearth-init itself: {info}"));
    }));
    let mut runner = Runner::new();
    let moved = args.iter().any(|arg| arg == MOVED);
    match boot(&mut runner, moved) {
        Ok(end) => {
            let Err(errno) = stop(&mut runner, end);
            end_early(&format!("the machine cannot be ended: {errno}"))
        }
        Err(Fatal(reason)) => end_early(&reason),
    }
    // The end of PID 1 is a panic of the kernel, which restarts the machine, too.
    ExitCode::FAILURE
}

fn boot(runner: &mut Runner, moved: bool) -> Result<End, Fatal> {
    if !moved {
        runner.walk(Walk::before_the_move())?;
    }
    // Else the kernel restarts the machine by itself, whatever was not written yet.
    if let Err(errno) = set_cad_enabled(false) {
        runner
            .log
            .error(&format!("Ctrl-Alt-Del stays the kernel's: {errno}"));
    }
    let signals = serve::signals().map_err(|errno| Fatal(format!("no signals: {errno}")))?;
    runner.walk(Walk::after_the_move())?;
    Ok(serve::serve(runner, &signals))
}

/// Says why, counts down, and restarts the machine; with `panic=0` on the kernel's command line it stands still.
fn end_early(reason: &str) {
    let mut log = KernelLog::open("hearth-init");
    log.error(&format!("THIS BOOT HAS FAILED: {reason}"));
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if word(&command_line, "panic") == Some("0") {
        log.error("panic=0: the machine stands still");
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    for left in (1..=COUNTDOWN).rev() {
        log.error(&format!("restart in {left} s"));
        std::thread::sleep(Duration::from_secs(1));
    }
    nix::unistd::sync();
    let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
    log.error(&format!("cannot restart: {errno}"));
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that is asked answers"
)]
fn not_first(args: &[String]) -> ExitCode {
    match args.split_first() {
        Some((verb, [])) if verb == "--help" || verb == "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Some((verb, facts)) if verb == "--dry-run" => match World::of(facts) {
            Ok(world) => {
                print!("{}", tell(world));
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("hearth-init: {error}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!(
                "hearth-init: is PID 1 of the appliance, and here it is not; --help tells more"
            );
            ExitCode::FAILURE
        }
    }
}
