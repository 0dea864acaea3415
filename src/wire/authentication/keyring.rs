//! The secrets of a process, and the file that they come from.

use super::TAG_LENGTH;
use crate::types::KeyNumber;
use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use std::fmt;
use thiserror::Error;

/// The first line of a key file.
const VERSION: &str = "psmr.key/1";
/// A secret that seals, and one that is still or already accepted.
const MOST: usize = 2;

/// 256 bits that only those know who may use them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret of client `number`.
    fn of_client(&self, number: KeyNumber) -> Self {
        let mut secret = [0; 32];
        let prk = Salt::new(HKDF_SHA256, b"psmr client").extract(&self.0);
        expand(&prk, &number.0.to_le_bytes(), &mut secret);
        Self(secret)
    }

    /// The key of the sender that `salt` names.
    pub(super) fn key(&self, salt: &[u8]) -> LessSafeKey {
        let mut key = [0; 32];
        expand(&Salt::new(HKDF_SHA256, salt).extract(&self.0), b"psmr datagram", &mut key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes"))
    }

    /// The tag of `content` in a command.
    fn tag(&self, content: &[u8]) -> [u8; TAG_LENGTH] {
        let mut tag = [0; 32];
        expand(&Salt::new(HKDF_SHA256, b"psmr command").extract(&self.0), content, &mut tag);
        std::array::from_fn(|index| tag[index])
    }

    fn parse(text: &str) -> Option<Self> {
        let mut secret = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * secret.len() {
            return None;
        }
        for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(Self(secret))
    }

    fn digits(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn expand(prk: &Prk, info: &[u8], out: &mut [u8; 32]) {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let filled = prk.expand(&[info], Length).and_then(|okm| okm.fill(out));
    filled.expect("32 bytes are few enough");
}

/// Why a key file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It does not start with the format's name.
    #[error("it is no key file: its first line is not `psmr.key/1`")]
    Foreign,
    /// A line that is no secret.
    #[error("line {0}: neither `nodes = ` nor `client N = ` with 64 hexadecimal digits")]
    Line(usize),
    /// Secrets of different holders.
    #[error("line {0}: one file has the secrets of one holder")]
    Mixed(usize),
    /// No secret.
    #[error("it has no secret")]
    Empty,
    /// More secrets than a rotation needs.
    #[error("line {0}: two secrets are the most, the one that is used and the one accepted beside")]
    Many(usize),
}

/// What a process can authenticate with: the first of its secrets, and accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// [`KeyNumber::NODES`], or the client's.
    holder: KeyNumber,
    secrets: Vec<Secret>,
}

impl Keyring {
    /// The nodes' keys.
    #[must_use]
    pub fn of_nodes(secret: Secret) -> Self {
        Self { holder: KeyNumber::NODES, secrets: vec![secret] }
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        if lines.next().is_none_or(|(_, line)| line != VERSION) {
            return Err(KeyError::Foreign);
        }
        let mut keyring = Self { holder: KeyNumber::NODES, secrets: Vec::new() };
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (holder, secret) = line.split_once('=').ok_or(KeyError::Line(number))?;
            let holder = match holder.trim() {
                "nodes" => KeyNumber::NODES,
                holder => holder
                    .strip_prefix("client ")
                    .and_then(|client| client.trim().parse().ok().map(KeyNumber))
                    .filter(|client| (KeyNumber(1)..=KeyNumber::LAST).contains(client))
                    .ok_or(KeyError::Line(number))?,
            };
            if !keyring.secrets.is_empty() && holder != keyring.holder {
                return Err(KeyError::Mixed(number));
            }
            if keyring.secrets.len() == MOST {
                return Err(KeyError::Many(number));
            }
            keyring.holder = holder;
            keyring.secrets.push(Secret::parse(secret.trim()).ok_or(KeyError::Line(number))?);
        }
        if keyring.secrets.is_empty() { Err(KeyError::Empty) } else { Ok(keyring) }
    }

    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> String {
        let holder = match self.holder {
            KeyNumber::NODES => "nodes".to_owned(),
            client => format!("client {client}"),
        };
        let line = |secret: &Secret| format!("{holder} = {}\n", secret.digits());
        let lines: String = self.secrets.iter().map(line).collect();
        format!("{VERSION}\n{lines}")
    }

    /// Whose keys they are.
    #[must_use]
    pub const fn holder(&self) -> KeyNumber {
        self.holder
    }

    /// The keys of client `number`; a client has none but its own.
    #[must_use]
    pub fn client(&self, number: KeyNumber) -> Option<Self> {
        let mut secrets = Vec::new();
        for index in 0..self.secrets.len() {
            secrets.push(self.secret(index, number)?);
        }
        Some(Self { holder: number, secrets })
    }

    /// The tag by which its holder vouches for `content` in a command.
    pub(in crate::wire) fn sign(&self, content: &[u8]) -> [u8; TAG_LENGTH] {
        self.secrets.first().expect("a keyring has a secret of its holder").tag(content)
    }

    /// Whether `tag` is one that its holder made.
    pub(in crate::wire) fn has_signed(&self, content: &[u8], tag: &[u8; TAG_LENGTH]) -> bool {
        let is_tag = |secret: &Secret| verify_slices_are_equal(&secret.tag(content), tag).is_ok();
        self.secrets.iter().any(is_tag)
    }

    /// How many secrets are accepted.
    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// The `index`th secret behind key `number`; `None`: this process does not know it.
    pub(super) fn secret(&self, index: usize, number: KeyNumber) -> Option<Secret> {
        let secret = self.secrets.get(index)?;
        if number == self.holder {
            return Some(secret.clone());
        }
        let is_derived = self.holder == KeyNumber::NODES && number <= KeyNumber::LAST;
        is_derived.then(|| secret.of_client(number))
    }
}
