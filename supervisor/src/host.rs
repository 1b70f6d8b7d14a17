//! Metrics of the machine: memory, load, disks, temperatures. Reading them can block, for example on a network disk
//! that is not reachable, so it is done in a thread that may wait.

use sysinfo::{Components, Disks, MemoryRefreshKind, System};

use crate::exposition::{Exposition, Kind};

/// File systems of these types are left out: they have no disk space of their own.
const NO_DISKS: [&str; 3] = ["overlay", "squashfs", "tmpfs"];

/// Adds the metrics of the machine.
pub fn tell(to: &mut Exposition) {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::everything());
    for (name, help, value) in [
        (
            "host_memory_total_bytes",
            "Memory of the machine.",
            system.total_memory(),
        ),
        (
            "host_memory_available_bytes",
            "Memory that programs could have without others giving any back.",
            system.available_memory(),
        ),
        (
            "host_swap_total_bytes",
            "Swap of the machine.",
            system.total_swap(),
        ),
        (
            "host_swap_free_bytes",
            "Swap that is not in use.",
            system.free_swap(),
        ),
        (
            "host_boot_time_seconds",
            "When the machine was started, in seconds since 1970.",
            System::boot_time(),
        ),
    ] {
        to.family(name, Kind::Gauge, help).sample(&[], value);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    to.family(
        "host_cpus",
        Kind::Gauge,
        "Processors that the platform may use.",
    )
    .sample(&[], processors);
    let load = System::load_average();
    let mut family = to.family(
        "host_load_average",
        Kind::Gauge,
        "Processes that run or want to, on average over so many minutes.",
    );
    for (minutes, load) in [("1", load.one), ("5", load.five), ("15", load.fifteen)] {
        family.sample(&[("minutes", minutes)], load);
    }
    disks(to);
    let components = Components::new_with_refreshed_list();
    let mut family = to.family(
        "host_temperature_celsius",
        Kind::Gauge,
        "What the machine's sensors measure.",
    );
    let mut told = Vec::new();
    for component in &components {
        let sensor = component.label();
        if !told.contains(&sensor) {
            family.maybe(&[("sensor", sensor)], component.temperature());
            told.push(sensor);
        }
    }
}

fn disks(to: &mut Exposition) {
    let disks = Disks::new_with_refreshed_list();
    // A device that is mounted several times is listed once, at its first mount point.
    let mut told = Vec::new();
    let mut rows = Vec::new();
    for disk in &disks {
        let device = disk.name().to_string_lossy().into_owned();
        let kind = disk.file_system().to_string_lossy();
        if NO_DISKS.contains(&&*kind) || told.contains(&device) || disk.total_space() == 0 {
            continue;
        }
        let mount = disk.mount_point().to_string_lossy().into_owned();
        rows.push((
            device.clone(),
            mount,
            disk.total_space(),
            disk.available_space(),
        ));
        told.push(device);
    }
    let mut family = to.family(
        "host_disk_size_bytes",
        Kind::Gauge,
        "Size of a file system.",
    );
    for (device, mount, size, _) in &rows {
        family.sample(&[("device", device), ("mount", mount)], size);
    }
    let mut family = to.family(
        "host_disk_available_bytes",
        Kind::Gauge,
        "Room in a file system for an ordinary user.",
    );
    for (device, mount, _, available) in &rows {
        family.sample(&[("device", device), ("mount", mount)], available);
    }
}
