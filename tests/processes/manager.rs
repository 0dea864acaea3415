//! What a service manager hears of nodes.

use crate::deployment::{Deployment, is_supported, lines};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The next message, line by line.
fn hear(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).expect("a message within the time-out");
    lines(&bytes[..length])
}

#[test]
fn the_service_manager_hears_of_readiness_of_life_and_of_the_end() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    let path = cluster.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a path of ours");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    cluster.set("NOTIFY_SOCKET", &path);
    cluster.set("WATCHDOG_USEC", "4000000");
    cluster.start_together(&["a1", "r1"]);
    assert_eq!(hear(&socket), ["READY=1", "STATUS=serves a1, r1"]);
    // A cluster without a quorum is no reason to restart a node.
    for _ in 0..2 {
        assert_eq!(hear(&socket), ["WATCHDOG=1"]);
    }
    cluster.stop();
    let mut rest = std::iter::repeat_with(|| hear(&socket));
    let last = rest.find(|message| *message != ["WATCHDOG=1"]).expect("endless");
    assert_eq!(last, ["STOPPING=1", "STATUS=drains"]);
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_not_to_serve() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--replicas", "1"]);
    cluster.set("NOTIFY_SOCKET", &cluster.path("nobody"));
    cluster.start_together(&["a1", "a2", "a3", "r1"]);
    assert_eq!(cluster.client(&["insert", "1", "10"], ""), ["ok"]);
    cluster.stop();
}
