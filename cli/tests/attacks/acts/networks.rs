//! Acts on networks and sockets.

use serde_json::json;

use super::{Act, DONE, NO_CALL, act};
use crate::scene::{Scene, order};

pub(super) fn acts(scene: &Scene) -> Vec<Act> {
    let http = scene.platform.http().to_string();
    let own = scene.server.local_addr().unwrap().to_string();
    let foreign = scene.foreign.local_addr().unwrap().to_string();
    let socket = scene.path(".hearth/edge.yaml/control.sock");
    let make = |family: i32, kind: i32, protocol: i32| json!({ "act": "socket", "family": family, "kind": kind, "protocol": protocol });
    let to = |act: &str, address: &str| json!({ "act": act, "address": address });
    let name = &scene.abstract_name;
    vec![
        act(
            "connect to its own resource",
            "connected",
            to("connect", &own),
            DONE,
            DONE,
        ),
        act(
            "connect to another server",
            "connected",
            to("connect", &foreign),
            DONE,
            &["EACCES"],
        ),
        act(
            "connect to the gateway",
            "connected",
            to("connect", &http),
            DONE,
            &["EACCES"],
        ),
        act(
            "connect by sending",
            "connected",
            to("connect fast", &foreign),
            DONE,
            NO_CALL,
        ),
        act(
            "connect without any resource",
            "plain",
            to("connect", &own),
            DONE,
            NO_CALL,
        ),
        act(
            "send a datagram",
            "connected",
            to("udp", &foreign),
            DONE,
            NO_CALL,
        ),
        act(
            "listen",
            "connected",
            to("listen", "127.0.0.1:0"),
            DONE,
            NO_CALL,
        ),
        act(
            "listen where the kernel chooses",
            "connected",
            order("listen unbound"),
            DONE,
            NO_CALL,
        ),
        act(
            "a socket of another protocol (MPTCP)",
            "connected",
            make(2, 1, 262),
            &["done", "ENOPROTOOPT", "EPROTONOSUPPORT", "EINVAL"],
            NO_CALL,
        ),
        // Landlock's rules are about TCP only. What other sockets send, they would not restrict.
        act(
            "a datagram socket",
            "connected",
            make(2, 2, 0),
            DONE,
            NO_CALL,
        ),
        act(
            "a datagram socket (IPv6)",
            "connected",
            make(10, 2, 0),
            &["done", "EAFNOSUPPORT"],
            NO_CALL,
        ),
        act(
            "a datagram socket of this machine",
            "plain",
            make(1, 2, 0),
            DONE,
            NO_CALL,
        ),
        act("a raw socket", "connected", make(2, 3, 1), DONE, NO_CALL),
        act(
            "a packet socket",
            "connected",
            make(17, 3, 768),
            &["done", "EAFNOSUPPORT"],
            NO_CALL,
        ),
        act(
            "a netlink socket",
            "connected",
            make(16, 3, 0),
            DONE,
            NO_CALL,
        ),
        act(
            "a socket to the host of the machine",
            "connected",
            make(40, 1, 0),
            &["done", "EAFNOSUPPORT"],
            NO_CALL,
        ),
        act(
            "connect to the control socket",
            "plain",
            json!({ "act": "unix", "path": socket }),
            DONE,
            NO_CALL,
        ),
        act(
            "connect to an abstract socket",
            "plain",
            json!({ "act": "abstract", "name": name }),
            DONE,
            NO_CALL,
        ),
        act(
            "listen on an abstract socket",
            "plain",
            json!({ "act": "listen abstract", "name": "hearth-attacks-own" }),
            DONE,
            NO_CALL,
        ),
        act(
            "send to a socket from a pair",
            "plain",
            json!({ "act": "datagram pair", "path": socket }),
            // Outside, the call fails because the control socket is of another type.
            &["EPROTOTYPE"],
            NO_CALL,
        ),
    ]
}
