//! Histories: what every client asked and was told, and when, as JSON lines.
//!
//! Generators hand chunks of finished commands to a thread that writes them, and get empty chunks
//! back. A writer that cannot keep up makes the generators wait: a history is for checking, and a
//! run that writes one measures the disk as well.

use crate::host::affinity::allowed_cpus;
use crate::host::threads::{StartError, Team};
use crate::proxy::{Completion, Outcome};
use crate::service::btree;
use crate::types::{Sequence, SessionId, Time};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use thiserror::Error;

/// Commands a chunk.
const CHUNK: usize = 4096;
/// Chunks on the way to the writer.
const QUEUE: usize = 64;
/// The longest command of the tree.
const COMMAND: usize = btree::Command::MAX_LENGTH;

/// Why there is no history.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file cannot be made.
    #[error(
        "--history {path}: cannot create the file ({source}): name one in a directory of yours"
    )]
    Create {
        /// The setting.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("--history: cannot write the file ({0}): make room on its disk")]
    Write(#[from] io::Error),
    /// The writer could not be started.
    #[error(transparent)]
    Thread(#[from] StartError),
    /// The writer panicked.
    #[error("the writer of the history ended: {0}")]
    Ended(String),
}

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub(super) struct HistoryFile {
    chunks: SyncSender<(Chunk, Sender<Chunk>)>,
    team: Team<io::Result<()>>,
}

/// One generator's side of a history.
#[derive(Debug)]
pub struct History {
    /// The number of the generator's first client, and how many it has.
    clients: (usize, usize),
    pending: Box<[Option<Asked>]>,
    chunk: Chunk,
    chunks: SyncSender<(Chunk, Sender<Chunk>)>,
    empty: (Sender<Chunk>, Receiver<Chunk>),
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    client: usize,
    session: SessionId,
    sequence: Sequence,
    invoked: Time,
    command: [u8; COMMAND],
    length: usize,
}

#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    /// The replies, one after the other.
    replies: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    asked: Asked,
    returned: Option<Time>,
    outcome: Outcome,
    reply_length: usize,
}

impl HistoryFile {
    /// Creates the file and starts its writer.
    pub(super) fn create(path: &Path) -> Result<Self, HistoryError> {
        let create = |source| HistoryError::Create { path: path.display().to_string(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(create)?);
        let (chunks, received) = sync_channel::<(Chunk, Sender<Chunk>)>(QUEUE);
        let mut team = Team::new(allowed_cpus());
        team.spawn("history", None, move || {
            for (mut chunk, empty) in received {
                chunk.write(&mut file)?;
                chunk.entries.clear();
                chunk.replies.clear();
                // The generator may have ended: then nobody wants the chunk back.
                let _ = empty.send(chunk);
            }
            file.flush()
        })?;
        Ok(Self { chunks, team })
    }

    /// The side of a generator with `clients` (the number of its first client, and how many) and
    /// `outstanding` commands.
    pub(super) fn side(&self, clients: (usize, usize), outstanding: usize) -> History {
        History::new(clients, outstanding, self.chunks.clone())
    }

    /// Waits until everything is written; every side must have ended.
    pub(super) fn finish(self) -> Result<(), HistoryError> {
        drop(self.chunks);
        for ended in self.team.join() {
            ended.result.map_err(|error| HistoryError::Ended(error.to_string()))??;
        }
        Ok(())
    }
}

impl History {
    fn new(
        clients: (usize, usize),
        outstanding: usize,
        chunks: SyncSender<(Chunk, Sender<Chunk>)>,
    ) -> Self {
        let pending = vec![None; outstanding].into();
        Self { clients, pending, chunk: Chunk::new(), chunks, empty: channel() }
    }

    /// A command is on its way.
    pub(super) fn invoke(&mut self, token: u32, now: Time, command: &[u8]) {
        let (first, count) = self.clients;
        let mut bytes = [0; COMMAND];
        bytes[..command.len()].copy_from_slice(command);
        self.pending[token as usize] = Some(Asked {
            client: first + token as usize % count,
            session: SessionId::default(),
            sequence: Sequence::default(),
            invoked: now,
            command: bytes,
            length: command.len(),
        });
    }

    /// It has been given its name.
    pub(super) fn name(&mut self, token: u32, session: SessionId, sequence: Sequence) {
        if let Some(asked) = &mut self.pending[token as usize] {
            (asked.session, asked.sequence) = (session, sequence);
        }
    }

    /// It has come to an end.
    pub(super) fn complete(&mut self, token: u32, now: Time, completion: &Completion<'_>) {
        let Some(mut asked) = self.pending[token as usize].take() else { return };
        (asked.session, asked.sequence) = (completion.session, completion.sequence);
        self.chunk.replies.extend_from_slice(completion.payload);
        let (outcome, reply_length) = (completion.outcome, completion.payload.len());
        self.push(Entry { asked, returned: Some(now), outcome, reply_length });
    }

    /// The run has ended: what is pending stays unknown.
    pub(super) fn finish(&mut self) {
        for token in 0..self.pending.len() {
            let Some(asked) = self.pending[token].take() else { continue };
            let outcome = Outcome::Unknown;
            self.push(Entry { asked, returned: None, outcome, reply_length: 0 });
        }
        self.send();
    }

    fn push(&mut self, entry: Entry) {
        self.chunk.entries.push(entry);
        if self.chunk.entries.len() == CHUNK {
            self.send();
        }
    }

    fn send(&mut self) {
        let next = self.empty.1.try_recv().unwrap_or_else(|_| Chunk::new());
        let chunk = std::mem::replace(&mut self.chunk, next);
        // A writer that has failed says so when it is joined.
        let _ = self.chunks.send((chunk, self.empty.0.clone()));
    }
}

impl Chunk {
    fn new() -> Self {
        Self { entries: Vec::with_capacity(CHUNK), replies: Vec::with_capacity(16 * CHUNK) }
    }

    fn write(&self, file: &mut impl Write) -> io::Result<()> {
        let mut replies = &self.replies[..];
        for entry in &self.entries {
            let (reply, rest) = replies.split_at(entry.reply_length);
            replies = rest;
            serde_json::to_writer(&mut *file, &Line::new(entry, reply))?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// One line. Numbers of 64 bits are strings: not every reader of JSON keeps them.
#[derive(Debug, Default, Serialize)]
struct Line {
    client: usize,
    session: String,
    sequence: String,
    invoke_ns: String,
    return_ns: Option<String>,
    op: &'static str,
    key: String,
    end: Option<String>,
    limit: Option<u32>,
    value: Option<String>,
    result: &'static str,
    read: Option<String>,
    pairs: Option<Vec<[String; 2]>>,
}

impl Line {
    fn new(entry: &Entry, reply: &[u8]) -> Self {
        let Entry { asked, returned, outcome, .. } = entry;
        let mut line = Self {
            client: asked.client,
            session: asked.session.to_string(),
            sequence: asked.sequence.to_string(),
            invoke_ns: asked.invoked.0.to_string(),
            return_ns: returned.map(|time| time.0.to_string()),
            result: "unknown",
            ..Self::default()
        };
        line.ask(&asked.command[..asked.length]);
        match outcome {
            Outcome::Done => line.answer(reply),
            Outcome::NotApplied(_) => line.result = "not-applied",
            // Nobody knows when, or whether, it takes effect.
            Outcome::Unknown => line.return_ns = None,
        }
        line
    }

    fn ask(&mut self, command: &[u8]) {
        use btree::Command::{Delete, Insert, Range, Read, Update};
        let command = btree::Command::decode(command).expect("a command of our own workload");
        self.key = command.key().to_string();
        match command {
            Read { .. } => self.op = "read",
            Delete { .. } => self.op = "delete",
            Update { value, .. } => (self.op, self.value) = ("update", Some(value.to_string())),
            Insert { value, .. } => (self.op, self.value) = ("insert", Some(value.to_string())),
            Range { to, limit, .. } => {
                (self.op, self.end, self.limit) = ("range", Some(to.to_string()), Some(limit));
            }
        }
    }

    fn answer(&mut self, reply: &[u8]) {
        use btree::Outcome::{Range, Refused, Value};
        match btree::Outcome::decode(reply) {
            Some(Value(value)) => (self.result, self.read) = ("value", Some(value.to_string())),
            Some(Range(pairs)) => {
                let text = |pair: &btree::Pair| [pair.key.to_string(), pair.value.to_string()];
                (self.result, self.pairs) = ("range", Some(pairs.iter().map(text).collect()));
            }
            Some(Refused) | None => self.result = "not-applied",
            Some(other) => self.result = other.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::NotApplied;

    fn completion(outcome: Outcome, payload: &[u8]) -> Completion<'_> {
        let (session, sequence, submitted) = (SessionId(u64::MAX), Sequence(3), Time(0));
        Completion { tag: 0, session, sequence, outcome, payload, submitted, flags: 0 }
    }

    fn lines(write: impl FnOnce(&mut History)) -> Vec<serde_json::Value> {
        let (chunks, received) = sync_channel(QUEUE);
        let mut history = History::new((4, 2), 4, chunks);
        write(&mut history);
        history.finish();
        drop(history);
        let mut file = Vec::new();
        for (chunk, _) in received {
            chunk.write(&mut file).unwrap();
        }
        let text = String::from_utf8(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_command_is_a_line_with_every_key_pending_ones_included() {
        let lines = lines(|history| {
            let (key, value) = (u64::MAX, 7);
            history.invoke(0, Time(5), &btree::Command::Insert { key, value }.to_bytes());
            history.invoke(1, Time(6), &btree::Command::Read { key: 2 }.to_bytes());
            history.invoke(3, Time(7), &btree::Command::Delete { key: 2 }.to_bytes());
            history.complete(0, Time(9), &completion(Outcome::Done, &[1]));
            history.name(3, SessionId(8), Sequence(9));
            let mut reply = vec![3];
            reply.extend_from_slice(&u64::MAX.to_le_bytes());
            history.complete(1, Time(10), &completion(Outcome::Done, &reply));
        });
        let expected = serde_json::json!([
            {"client": 4, "session": "18446744073709551615", "sequence": "3", "invoke_ns": "5",
             "return_ns": "9", "op": "insert", "key": "18446744073709551615", "end": null,
             "limit": null, "value": "7", "result": "exists", "read": null, "pairs": null},
            {"client": 5, "session": "18446744073709551615", "sequence": "3", "invoke_ns": "6",
             "return_ns": "10", "op": "read", "key": "2", "end": null, "limit": null,
             "value": null, "result": "value", "read": "18446744073709551615", "pairs": null},
            {"client": 5, "session": "8", "sequence": "9", "invoke_ns": "7", "return_ns": null,
             "op": "delete", "key": "2", "end": null, "limit": null, "value": null,
             "result": "unknown", "read": null, "pairs": null},
        ]);
        assert_eq!(serde_json::Value::Array(lines), expected);
    }

    #[test]
    fn ranges_show_their_pairs_and_refused_commands_are_not_applied() {
        let lines = lines(|history| {
            let range = btree::Command::Range { from: 1, to: 9, limit: 2 }.to_bytes();
            let mut reply = vec![4, 1, 0, 0, 0];
            reply.extend_from_slice(&3_u64.to_le_bytes());
            reply.extend_from_slice(&30_u64.to_le_bytes());
            history.invoke(0, Time(1), &range);
            history.complete(0, Time(2), &completion(Outcome::Done, &reply));
            history.invoke(0, Time(3), &range);
            let rejected = Outcome::NotApplied(NotApplied::Rejected);
            history.complete(0, Time(4), &completion(rejected, &[]));
        });
        assert_eq!(lines[0]["pairs"], serde_json::json!([["3", "30"]]));
        assert_eq!((&lines[0]["end"], &lines[0]["limit"]), (&"9".into(), &2.into()));
        assert_eq!(
            (&lines[0]["result"], &lines[1]["result"]),
            (&"range".into(), &"not-applied".into())
        );
    }

    #[test]
    fn a_file_takes_many_chunks_of_several_sides() {
        let path = std::env::temp_dir().join(format!("psmr-history-{}", std::process::id()));
        let file = HistoryFile::create(&path).unwrap();
        let mut sides = [file.side((0, 1), 2), file.side((1, 1), 2)];
        let command = btree::Command::Read { key: 2 }.to_bytes();
        for n in 0..3 * CHUNK as u64 {
            let side = &mut sides[usize::try_from(n % 2).unwrap()];
            side.invoke(0, Time(n), &command);
            side.complete(0, Time(n + 1), &completion(Outcome::Done, &[2]));
        }
        for mut side in sides {
            side.finish();
        }
        file.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 3 * CHUNK);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named_with_its_setting() {
        let error = HistoryFile::create(Path::new("/nonexistent/file")).unwrap_err();
        assert!(error.to_string().starts_with("--history /nonexistent/file: "), "{error}");
    }
}
