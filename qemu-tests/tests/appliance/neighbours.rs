//! A device in its own network, with the servers of a real one: dnsmasq as DHCP server, router and name server,
//! chrony as time server, and a client that resolves `NAME.local`.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_qemu_tests::{Tap, timings};
use serde_json::Value;

use crate::device::{BOOT, Device, On};
use crate::lab::Lab;
use crate::wait;

/// This host's network interface and addresses.
const TAP: &str = "hearth0";
const HOST_4: &str = "10.79.0.1";
const HOST_6: &str = "fd79::1";
/// More addresses of this host: for a time server that is wrong, and for another that is right.
const LIAR: &str = "10.79.0.2";
const SECOND: &str = "10.79.0.3";
/// The address that the device gets by DHCP, because of its MAC address.
const DEVICE_4: &str = "10.79.0.50";
const MAC: &str = "52:54:00:12:34:56";
/// The device's name, derived from its MAC address.
const NAME: &str = "hearth-3456";
/// The device's address from router advertisements, derived from its MAC address.
const DEVICE_6: &str = "fd79::5054:ff:fe12:3456";

/// dnsmasq's shortest lease. The device renews it after half of this time.
const LEASE: Duration = Duration::from_secs(120);

/// The device's default time server.
const TIME: &str = "pool.ntp.org";

/// A server process with its log, killed when this is dropped.
struct Neighbour {
    child: Child,
    log: PathBuf,
}

impl Neighbour {
    fn start(name: &str, words: &[&str]) -> Neighbour {
        let log = Lab::get().place.join(format!("{name}.log"));
        let out = File::create(&log).unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn();
        Neighbour {
            child: child.unwrap_or_else(|error| panic!("{name}: {error}")),
            log,
        }
    }

    /// Starts dnsmasq: DHCP, router advertisements and names.
    fn dnsmasq(name: &str, more: &[&str]) -> Neighbour {
        let leases = Lab::get().place.join(format!("{name}.leases"));
        let _ = fs::remove_file(&leases);
        let leases = format!("--dhcp-leasefile={}", leases.display());
        let interface = format!("--interface={TAP}");
        let words = [
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            // dnsmasq also answers for names in this domain that do not exist.
            "--local=/ntp.org/",
            "--user=root",
            "--pid-file=",
            "--log-dhcp",
            "--log-queries",
            "--log-facility=-",
            "--bind-dynamic",
            "--except-interface=lo",
            &interface,
            &leases,
        ];
        Neighbour::start(name, &[&words, more].concat())
    }

    /// Starts chrony, which serves this host's time at some of its addresses.
    fn chrony(name: &str, addresses: &[&str]) -> Neighbour {
        let place = &Lab::get().place;
        let settings = place.join(format!("{name}.conf"));
        let mut text = format!(
            "local stratum 1\nallow all\ncmdport 0\nbindcmdaddress /\npidfile {}\n",
            place.join(format!("{name}.pid")).display()
        );
        for address in addresses {
            text += &format!("bindaddress {address}\n");
        }
        fs::write(&settings, text).unwrap();
        let settings = settings.to_str().unwrap();
        // With -x, chrony does not change this host's clock.
        Neighbour::start(name, &["chronyd", "-d", "-x", "-u", "root", "-f", settings])
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a time server (RFC 5905) that returns the client's own time plus five seconds, and counts requests.
fn liar() -> Arc<AtomicU32> {
    let socket = UdpSocket::bind((LIAR, 123)).unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut room = [0; 48];
        while let Ok((_, from)) = socket.recv_from(&mut room) {
            let (mut answer, stamp) = ([0; 48], &room[40..48]);
            // The response: no leap second, version 4, mode server; stratum 1; the client's timestamp; the times of
            // receipt and transmission.
            (answer[0], answer[1]) = (0x24, 1);
            answer[24..32].copy_from_slice(stamp);
            let seconds = u32::from_be_bytes(stamp[..4].try_into().unwrap()).wrapping_add(5);
            for at in [32, 40] {
                answer[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            }
            socket.send_to(&answer, from).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    asked
}

/// Runs ip(8) as root of this namespace.
fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Sets up this host's network interface, in a namespace without any other.
fn cable() {
    ip("link set lo up");
    ip(&format!("tuntap add dev {TAP} mode tap"));
    ip(&format!("address add {HOST_4}/24 dev {TAP}"));
    for more in [LIAR, SECOND] {
        ip(&format!("address add {more}/24 dev {TAP}"));
    }
    ip(&format!("address add {HOST_6}/64 dev {TAP} nodad"));
    ip(&format!("link set {TAP} up"));
    ip(&format!("route add 224.0.0.0/4 dev {TAP}"));
}

fn network(on: &On) -> Value {
    on.json("/run/hearth/net.json")
}

fn scaled(limit: Duration) -> Duration {
    Lab::get().speed.scale(limit)
}

/// Waits until the network's state fits.
fn settles(on: &On, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait::within(scaled(BOOT), what, || Some(network(on)).filter(&fits))
}

/// Returns by how many seconds the device's clock differs from this host's.
fn clock_is_off_by(on: &On) -> f64 {
    let read = |path: &str| on.order(&["read", path]);
    let stat = read("/proc/stat");
    let begun = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let begun: f64 = begun.unwrap().trim().parse().unwrap();
    let up = read("/proc/uptime");
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    begun + up - now.as_secs_f64()
}

/// Checks that the server has set the clock, which began in 2020, except for what `btime` rounds off.
fn knows_the_time(on: &On) {
    settles(on, "the clock is synchronised", |network| {
        network["clock"] == "synchronised"
    });
    let off = clock_is_off_by(on);
    println!("the clock is off by {off:.1} s");
    assert!(off.abs() < 5.0, "{off}");
}

/// Queries the network for an address of a name with mDNS (RFC 6762). Returns whether `address` is among the
/// responses.
fn is_told(name: &str, address: IpAddr) -> bool {
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    let (kind, bytes): (u8, Vec<u8>) = match address {
        IpAddr::V4(address) => (1, address.octets().into()),
        IpAddr::V6(address) => (28, address.octets().into()),
    };
    // A header with one question: the name's labels, the type, the class IN.
    let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.bytes());
    }
    question.extend([0, 0, kind, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
    socket
        .join_multicast_v4(&GROUP, &HOST_4.parse().unwrap())
        .unwrap();
    socket.set_multicast_loop_v4(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let until = Instant::now() + scaled(Duration::from_secs(10));
    while Instant::now() < until {
        socket.send_to(&question, (GROUP, 5353)).unwrap();
        let mut room = [0; 9000];
        while let Ok((count, _)) = socket.recv_from(&mut room) {
            // The end of a record: type, class (its first bit flushes caches), TTL, length, address.
            let record = |end: &[u8]| {
                end[..2] == [0, kind]
                    && end[3] == 1
                    && end[8..10] == [0, bytes.len() as u8]
                    && end[10..] == bytes
            };
            if room[..count].windows(10 + bytes.len()).any(record) {
                return true;
            }
        }
    }
    false
}

#[test]
#[ignore = "it wants a network of its own: `cargo xtask test network` makes one"]
fn it_lives_with_the_servers_of_a_real_network() {
    cable();
    let chrony = Neighbour::chrony("chrony", &[HOST_4, HOST_6]);
    let second = Neighbour::chrony("second", &[SECOND]);
    // The nearest server, which the device queries first and adjusts least for, is wrong; the two others agree.
    let lied_to = liar();
    let near = format!("--dhcp-option=option:ntp-server,{LIAR}");
    let time_4 = format!("--host-record={TIME},{HOST_4}");
    let time_second = format!("--host-record={TIME},{SECOND}");
    let leases = format!("--dhcp-range=10.79.0.50,10.79.0.60,{}", LEASE.as_secs());
    let own = format!("--dhcp-host={MAC},{DEVICE_4}");
    let routers = "--dhcp-range=fd79::,ra-only,64,300";
    let servers = format!("--dhcp-option=option6:dns-server,[{HOST_6}]");
    let both = Neighbour::dnsmasq(
        "dnsmasq",
        &[
            &near,
            &time_4,
            &time_second,
            &leases,
            &own,
            "--enable-ra",
            routers,
            &servers,
        ],
    );
    let mut device = Device::hello("neighbours");
    device.machine.tap = Some(Tap {
        name: TAP.to_owned(),
        address: DEVICE_4.parse().unwrap(),
    });
    device.machine.clock = Some("2020-01-01T00:00:00".to_owned());
    let on = device.on();
    on.says(&format!("https://{DEVICE_4}"), BOOT);
    on.answers(BOOT);
    let settled = settles(&on, "both families have an address", |network| {
        network["dns"] == serde_json::json!([HOST_4, HOST_6])
            && network["addresses"] == serde_json::json!([DEVICE_4, DEVICE_6])
    });
    println!("{settled}");
    assert_eq!(settled["gateway"], HOST_4);
    knows_the_time(&on);
    assert!(lied_to.load(Ordering::Relaxed) > 0, "nobody asked it");
    let over_6 = on.get_of(&format!("[{DEVICE_6}]"), "/").unwrap();
    assert!(over_6.contains("hello"), "{over_6}");

    // The device must also be found by its name.
    let name = format!("{NAME}.local");
    assert_eq!(settled["mdns"], name.as_str());
    for address in [DEVICE_4, DEVICE_6] {
        assert!(is_told(&name, address.parse().unwrap()), "{address}");
        println!("{name}, asked for on the cable: {address}");
    }

    // hearth-net dies: the device keeps its address, and a new hearth-net learns the rest.
    let before = network(&on);
    let killed = on.order(&["signal", "9", "hearth-net"]);
    let begun = Instant::now();
    while begun.elapsed() < scaled(Duration::from_secs(5)) {
        let told = on.get("https", "/").unwrap();
        assert!(told.contains("hello"), "{told}");
    }
    let another = on.order(&["signal", "18", "hearth-net"]);
    assert_ne!(killed, another);
    let after = settles(&on, "the same is known", |network| *network == before);
    println!(
        "hearth-net was killed; {:.1?} later: {after}",
        begun.elapsed()
    );

    // The device renews the lease after half of its time, and no request fails meanwhile.
    let acknowledged = || both.said().matches("DHCPACK").count();
    let before = acknowledged();
    let begun = Instant::now();
    while acknowledged() == before {
        assert!(begun.elapsed() < LEASE, "no renewal: {}", both.said());
        assert!(on.get("https", "/").unwrap().contains("hello"));
        sleep(Duration::from_secs(1));
    }
    timings::waited(begun.elapsed());
    println!("renewed after {} s more", begun.elapsed().as_secs());
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
    on.goes_off(BOOT);
    drop((both, second));

    // Without DHCP, the device knows only what the router advertises: address and name server, and through that the
    // time.
    let time_6 = format!("--host-record={TIME},{HOST_6}");
    let six = Neighbour::dnsmasq("dnsmasq-6", &[&time_6, "--enable-ra", routers, &servers]);
    device.machine.tap = Some(Tap {
        name: TAP.to_owned(),
        address: DEVICE_6.parse().unwrap(),
    });
    let on = device.boot();
    let settled = network(&on);
    assert_eq!(settled["addresses"], serde_json::json!([DEVICE_6]));
    settles(&on, "the router's name server is known", |network| {
        network["dns"] == serde_json::json!([HOST_6])
    });
    knows_the_time(&on);
    assert!(six.said().contains(TIME), "{}", six.said());
    drop(chrony);
}
