//! Asking every node of a cluster what it has to say of itself: one socket, no threads, by datagrams
//! that are sent again until they are answered or patience ends.

use super::line::{Heard, Line};
use super::{board, change};
use crate::config::{self, Cluster};
use crate::host::clock;
use crate::types::{RingId, Time};
use crate::wire::{
    self, DecodeError, Fact, Keyring, Kind, Message, Room, StatusPage, StatusRequest,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Room for facts in a request: what an answer may take.
const ROOM: usize =
    (Room::LEAST.body() - StatusRequest::FIXED_LENGTH) / size_of::<Fact>() * size_of::<Fact>();
/// Pages of an answer: far more facts than a node has.
const MOST_PAGES: usize = 1 << 10;
/// Between two requests for the same page.
const REPEAT: Duration = Duration::from_millis(100);

/// What a node said.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its facts; `None`: it did not answer.
    pub facts: Option<Vec<Fact>>,
    /// Why it does not talk to us.
    pub mismatch: Option<DecodeError>,
}

/// The name of a reason in a fact on drops.
#[must_use]
pub fn drop_reason(fact: &Fact) -> &'static str {
    board::reason(fact.index)
}

/// Asks every node of `cluster`, in the order of [`Cluster::nodes`]; if some are in a later epoch,
/// its members instead. Returns the cluster that was asked, too.
///
/// # Errors
/// If there is no socket to ask by.
pub fn inquire(
    cluster: &Cluster,
    interface: Option<Ipv4Addr>,
    patience: Duration,
    keyring: Option<Arc<Keyring>>,
) -> io::Result<(Cluster, Vec<Said>)> {
    let line = Line::open(cluster, interface, keyring.clone())?;
    let said = ask(cluster, line, patience)?;
    let is_elsewhere = |said: &Said| {
        matches!(said.mismatch, Some(DecodeError::Epoch | DecodeError::Configuration))
    };
    if !said.iter().any(is_elsewhere) {
        return Ok((cluster.clone(), said));
    }
    let (latest, _) = change::latest(cluster, interface, patience, keyring.clone())?;
    if latest.epoch == cluster.epoch {
        return Ok((latest, said));
    }
    if let Some(unspoken) = latest.unspoken_up_to(wire::NEWEST) {
        return Err(io::Error::other(unspoken));
    }
    let line = Line::open(&latest, interface, keyring)?;
    let said = ask(&latest, line, patience)?;
    Ok((latest, said))
}

fn ask(cluster: &Cluster, line: Line, patience: Duration) -> io::Result<Vec<Said>> {
    let mut inquiry = Inquiry { line, asked: cluster.nodes().map(Asked::new).collect() };
    let until = clock::now() + patience;
    let mut repeat_at = Time::ZERO;
    loop {
        let now = clock::now();
        if now >= until || inquiry.asked.iter().all(Asked::is_over) {
            return Ok(inquiry.asked.into_iter().map(Asked::finish).collect());
        }
        if now >= repeat_at {
            repeat_at = now + REPEAT;
            inquiry.ask_all();
        }
        inquiry.receive(repeat_at.min(until).since(now))?;
    }
}

/// A node that is asked.
#[derive(Debug)]
struct Asked {
    address: SocketAddrV4,
    /// Its pages so far; `None` inside: not here yet. Empty: nobody knows how many there are.
    pages: Vec<Option<Vec<Fact>>>,
    mismatch: Option<DecodeError>,
}

impl Asked {
    const fn new(node: &config::Node) -> Self {
        Self { address: node.address, pages: Vec::new(), mismatch: None }
    }

    fn is_over(&self) -> bool {
        let is_whole = !self.pages.is_empty() && self.pages.iter().all(Option::is_some);
        is_whole || self.mismatch.is_some()
    }

    /// The first page that is missing.
    fn missing(&self) -> usize {
        self.pages.iter().position(Option::is_none).unwrap_or(0)
    }

    fn take(&mut self, page: &StatusPage<'_>) {
        // The number of pages may have changed since the first of them.
        let (page_number, pages) = (page.page as usize, page.pages as usize);
        if page_number < pages && pages <= MOST_PAGES {
            self.pages.resize(pages, None);
            self.pages[page_number] = Some(page.facts.iter().collect());
        }
    }

    fn finish(self) -> Said {
        let is_known = self.pages.iter().any(Option::is_some);
        let facts = self.pages.into_iter().flatten().flatten().collect();
        Said { facts: is_known.then_some(facts), mismatch: self.mismatch }
    }
}

struct Inquiry {
    line: Line,
    asked: Vec<Asked>,
}

impl Inquiry {
    fn ask_all(&mut self) {
        for index in 0..self.asked.len() {
            if !self.asked[index].is_over() {
                self.ask(index);
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let asked = &self.asked[index];
        let page = u32::try_from(asked.missing()).expect("few pages");
        let number = u64::try_from(index).expect("few nodes");
        let request = StatusRequest { number, page, room: &[0; ROOM] };
        self.line.send(asked.address, RingId(0), &Message::StatusRequest(request));
    }

    /// Takes one datagram, if one comes in time.
    fn receive(&mut self, patience: Duration) -> io::Result<()> {
        let Some(Heard { from, datagram, message }) = self.line.receive(patience)? else {
            return Ok(());
        };
        let Some(index) = self.asked.iter().position(|asked| asked.address == from) else {
            return Ok(());
        };
        match message {
            Ok(Message::StatusPage(page)) if page.number == index as u64 => {
                self.asked[index].take(&page);
                if !self.asked[index].is_over() {
                    self.ask(index);
                }
            }
            Err(reason) if wire::kind_of(datagram) == Some(Kind::Mismatch) => {
                self.asked[index].mismatch = Some(reason);
            }
            _ => {}
        }
        Ok(())
    }
}
