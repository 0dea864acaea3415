//! What a thread stamps all that it sends with, and checks all that it receives by.

use super::TAG_LENGTH;
use super::keyring::Keyring;
use super::senders::{Name, Senders};
use crate::types::KeyNumber;
use crate::wire::header::{self, Checked};
use crate::wire::{DecodeError, HEADER_LENGTH, Header, Identity, Kind};
use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use std::fmt;
use std::sync::Arc;

/// Clients whose keys are at hand for sealing; others are derived again (3 us).
const CLIENTS: usize = 64;

/// A thread's gate. Without a keyring datagrams carry a checksum against damage; with one, a tag.
pub struct Gate {
    identity: Identity,
    counter: u64,
    keys: Option<Box<Keys>>,
}

struct Keys {
    keyring: Arc<Keyring>,
    /// Fresh for each thread of each life, so that a counter is never used twice with a key.
    salt: u64,
    /// By which the holder seals what is not for another key.
    own: LessSafeKey,
    clients: Vec<(KeyNumber, LessSafeKey)>,
    /// Which of `clients` goes next.
    oldest: usize,
    senders: Senders,
}

impl Gate {
    /// A gate without authentication.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self { identity, counter: 0, keys: None }
    }

    /// A gate that authenticates. `salt` is random, for this thread and this life alone.
    ///
    /// # Panics
    /// If `salt` is 0, which says that there is no authentication.
    #[must_use]
    pub fn with_keys(identity: Identity, keyring: Arc<Keyring>, salt: u64) -> Self {
        assert_ne!(salt, 0, "a salt is drawn");
        let own = key(&identity, &keyring, (0, keyring.holder()), salt);
        let keys = Keys {
            own: own.expect("a keyring has a secret of its holder"),
            keyring,
            salt,
            clients: Vec::with_capacity(CLIENTS),
            oldest: 0,
            senders: Senders::new(),
        };
        Self { identity, counter: 0, keys: Some(Box::new(keys)) }
    }

    /// Who it stands for.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Another epoch has begun, whose members speak `version`, of a configuration with this digest.
    pub const fn move_to(&mut self, (epoch, version): (u32, u8), configuration: u64) {
        (self.identity.epoch, self.identity.version) = (epoch, version);
        self.identity.configuration = configuration;
    }

    /// Bytes that a datagram needs beyond header and body.
    #[must_use]
    #[inline]
    pub const fn tag_length(&self) -> usize {
        if self.keys.is_some() { TAG_LENGTH } else { 0 }
    }

    /// Stamps a datagram for the holder of key `to`. Its body stands behind the header's room, and
    /// room for the tag behind the body.
    ///
    /// `header` brings kind, ring, sender and target; the rest is filled in here.
    ///
    /// # Panics
    /// If `datagram` is shorter than a header and a tag.
    #[inline]
    pub fn seal(&mut self, mut header: Header, to: KeyNumber, datagram: &mut [u8]) {
        self.counter += 1;
        header.counter = self.counter;
        let Some(keys) = &mut self.keys else {
            return header::seal(&self.identity, header, datagram);
        };
        let (content, tag) = datagram.split_at_mut(datagram.len() - TAG_LENGTH);
        header.salt = keys.salt;
        let (number, key) = keys.sealing(&self.identity, to);
        header.check = number.0.into();
        header::stamp(&self.identity, &mut header, content.len() - HEADER_LENGTH);
        content[..HEADER_LENGTH].copy_from_slice(bytemuck::bytes_of(&header));
        let sealed =
            key.seal_in_place_separate_tag(nonce(header.counter), Aad::from(&*content), &mut []);
        tag.copy_from_slice(sealed.expect("a datagram is short enough").as_ref());
    }

    /// Checks a datagram and splits it into header and body. Padding behind it is ignored. Nothing
    /// is remembered of a datagram whose tag does not match.
    ///
    /// # Errors
    /// The first reason to drop it, cheap ones first.
    #[inline]
    pub fn open<'a>(&mut self, datagram: &'a [u8]) -> Result<(Header, &'a [u8]), DecodeError> {
        let Some(keys) = &mut self.keys else { return header::open(&self.identity, datagram) };
        let Checked { header, body, rest } = header::check(&self.identity, datagram)?;
        if header.salt == 0 {
            return Err(DecodeError::Unsigned);
        }
        let tag = rest.get(..TAG_LENGTH).ok_or(DecodeError::Truncated)?;
        let signed = &datagram[..HEADER_LENGTH + body.len()];
        keys.verify(&self.identity, &header, signed, tag)?;
        header::agree(&self.identity, &header)?;
        Ok((header, body))
    }
}

impl Keys {
    /// The key that datagrams to the holder of `to` are sealed by, and its number.
    #[inline]
    fn sealing(&mut self, identity: &Identity, to: KeyNumber) -> (KeyNumber, &LessSafeKey) {
        let holder = self.keyring.holder();
        if to == holder || holder != KeyNumber::NODES {
            return (holder, &self.own);
        }
        let known = self.clients.iter().position(|(number, _)| *number == to);
        let index = known.unwrap_or_else(|| self.derive(identity, to));
        (to, &self.clients[index].1)
    }

    #[cold]
    fn derive(&mut self, identity: &Identity, to: KeyNumber) -> usize {
        let key = key(identity, &self.keyring, (0, to), self.salt);
        let key = (to, key.expect("nodes know the secrets of all clients"));
        if self.clients.len() < CLIENTS {
            self.clients.push(key);
            return self.clients.len() - 1;
        }
        let index = self.oldest;
        self.oldest = (index + 1) % CLIENTS;
        self.clients[index] = key;
        index
    }

    #[inline]
    fn verify(
        &mut self,
        identity: &Identity,
        header: &Header,
        signed: &[u8],
        tag: &[u8],
    ) -> Result<(), DecodeError> {
        let number = header.key().ok_or(DecodeError::Forged)?;
        let is_entitled = match self.keyring.holder() {
            KeyNumber::NODES => number == KeyNumber::NODES || is_for_clients(header.kind),
            holder => number == holder,
        };
        if !is_entitled {
            return Err(DecodeError::Unentitled);
        }
        let name = Name { number, incarnation: header.incarnation, salt: header.salt };
        let Some((key, window)) = self.senders.find(&name) else {
            return self.meet(identity, name, header.counter, (signed, tag));
        };
        if !window.is_fresh(header.counter) {
            return Err(DecodeError::Replayed);
        }
        if !is_sealed(key, header.counter, signed, tag) {
            return Err(DecodeError::Forged);
        }
        window.mark(header.counter);
        Ok(())
    }

    /// A sender that was not heard before: by whichever secret it authenticates itself.
    #[cold]
    fn meet(
        &mut self,
        identity: &Identity,
        name: Name,
        counter: u64,
        (signed, tag): (&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        for index in 0..self.keyring.len() {
            let secret = self.keyring.secret(index, name.number).ok_or(DecodeError::Forged)?;
            let key = secret.key(&name.bytes(identity.cluster));
            if counter > 0 && is_sealed(&key, counter, signed, tag) {
                self.senders.insert(name, key, counter);
                return Ok(());
            }
        }
        Err(DecodeError::Forged)
    }
}

/// What clients may send.
fn is_for_clients(kind: u8) -> bool {
    matches!(
        Kind::from_wire(kind),
        Some(Kind::Propose | Kind::StatusRequest | Kind::MembersRequest)
    )
}

/// The key of a sender in this life.
fn key(
    identity: &Identity,
    keyring: &Keyring,
    (index, number): (usize, KeyNumber),
    salt: u64,
) -> Option<LessSafeKey> {
    let name = Name { number, incarnation: identity.incarnation, salt };
    Some(keyring.secret(index, number)?.key(&name.bytes(identity.cluster)))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[inline]
fn is_sealed(key: &LessSafeKey, counter: u64, signed: &[u8], tag: &[u8]) -> bool {
    key.open_separate_gather(nonce(counter), Aad::from(signed), &[], tag, &mut []).is_ok()
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, counter, keys } = self;
        let is_authenticated = keys.is_some();
        let mut debug = f.debug_struct("Gate");
        debug.field("identity", identity).field("counter", counter);
        debug.field("is_authenticated", &is_authenticated).finish_non_exhaustive()
    }
}
