//! One socket by which somebody outside a cluster talks to its nodes: no threads, one datagram at a
//! time.

use super::remote;
use crate::config::Cluster;
use crate::host::usage::draw_incarnation;
use crate::types::{KeyNumber, NodeId, RingId};
use crate::wire::{
    self, DecodeError, Gate, HEADER_LENGTH, Header, Identity, Keyring, Message, Writer,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Nobody's number: who asks is no node.
const ASKER: NodeId = NodeId(u16::MAX - 1);

/// A socket and its gate.
pub(super) struct Line {
    socket: UdpSocket,
    gate: Gate,
    buffer: Box<[u8]>,
}

/// A datagram that came.
pub(super) struct Heard<'a> {
    /// Who sent it.
    pub(super) from: SocketAddrV4,
    /// All of it.
    pub(super) datagram: &'a [u8],
    /// What it says, or why it is not heard.
    pub(super) message: Result<Message<'a>, DecodeError>,
}

impl Line {
    /// A line to `cluster`, by the interface with this address or the one that leads there.
    pub(super) fn open(
        cluster: &Cluster,
        interface: Option<Ipv4Addr>,
        keyring: Option<Arc<Keyring>>,
    ) -> io::Result<Self> {
        let first = cluster.acceptors[0].address;
        let interface = interface.unwrap_or_else(|| remote::interface_to(first));
        let socket = UdpSocket::bind((interface, 0))?;
        let identity = Identity {
            cluster: cluster.id,
            configuration: cluster.digests.configuration(),
            epoch: cluster.epoch,
            version: cluster.wire,
            incarnation: draw_incarnation()?,
        };
        let gate = match keyring {
            None => Gate::new(identity),
            Some(keyring) => Gate::with_keys(identity, keyring, draw_incarnation()?.0.max(1)),
        };
        Ok(Self { socket, gate, buffer: vec![0; wire::MAX_DATAGRAM].into() })
    }

    /// Sends `message` of `ring` to the node at `to`. One that cannot be reached does not answer.
    pub(super) fn send(&mut self, to: SocketAddrV4, ring: RingId, message: &Message<'_>) {
        let mut datagram = vec![0; message.encoded_length() + self.gate.tag_length()];
        message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..]));
        let header = Header {
            kind: message.kind() as u8,
            ring,
            sender: ASKER,
            target: NodeId::ALL,
            ..Header::default()
        };
        self.gate.seal(header, KeyNumber::NODES, &mut datagram);
        let _ = self.socket.send_to(&datagram, to);
    }

    /// Takes one datagram, if one comes within `patience`.
    pub(super) fn receive(&mut self, patience: Duration) -> io::Result<Option<Heard<'_>>> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let Ok((length, SocketAddr::V4(from))) = self.socket.recv_from(&mut self.buffer) else {
            return Ok(None);
        };
        let datagram = &self.buffer[..length];
        let message =
            self.gate.open(datagram).and_then(|(header, body)| Message::decode(header.kind, body));
        Ok(Some(Heard { from, datagram, message }))
    }
}
