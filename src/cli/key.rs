//! `psmr keygen`, and how every subcommand reads a key file.

use super::origin::Origin;
use super::{Failure, complain};
use crate::config::Config;
use crate::host::usage::draw_incarnation;
use crate::node::{KeyFileError, read_keyring};
use crate::types::KeyNumber;
use crate::wire::{Keyring, Secret};
use clap::Args;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The nodes' key file unless told otherwise.
pub(super) const NODES: &str = "cluster.key";
/// The client whose key is made beside the nodes'.
const FIRST: u16 = 1;

/// The options of `psmr keygen`.
#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// The file to write, for its owner alone. Of the nodes: the key of client 1 is written beside
    /// it, as cluster.client.key beside cluster.key
    #[arg(long, value_name = "FILE", default_value = NODES)]
    out: PathBuf,
    /// Makes the key of this client instead, 1 to 4095, from the nodes' key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4095))]
    client: Option<u16>,
    /// The nodes' key file that the client's is made from
    #[arg(long, value_name = "FILE", default_value = NODES, requires = "client")]
    from: PathBuf,
}

/// Writes a nodes' key and a client's, or another client's.
pub(super) fn generate(args: &KeygenArgs) -> Result<(), Failure> {
    if let Some(client) = args.client {
        return write(&args.out, &of_client(&args.from, &read(&args.from)?, client)?);
    }
    let keyring = Keyring::of_nodes(draw()?);
    let client = of_client(&args.out, &keyring, FIRST)?;
    let beside = client_file(&args.out);
    // Both or none.
    absent(&args.out)?;
    absent(&beside)?;
    write(&args.out, &keyring)?;
    write(&beside, &client)
}

/// Where the key of client 1 is made beside the nodes' `file`.
pub(super) fn client_file(file: &Path) -> PathBuf {
    file.with_extension("client.key")
}

fn draw() -> Result<Secret, Failure> {
    let mut secret = [0; 32];
    for word in secret.chunks_exact_mut(8) {
        let drawn = draw_incarnation()
            .map_err(|error| Failure::Environment(format!("no random bits for a key: {error}")))?;
        word.copy_from_slice(&drawn.0.to_le_bytes());
    }
    Ok(Secret::new(secret))
}

fn of_client(file: &Path, keyring: &Keyring, client: u16) -> Result<Keyring, Failure> {
    let derived = keyring.client(KeyNumber(client));
    derived.filter(|_| keyring.holder() == KeyNumber::NODES).ok_or_else(|| {
        let file = file.display();
        Failure::Usage(format!("--from {file}: it is a client's key: name that of the nodes"))
    })
}

fn absent(path: &Path) -> Result<(), Failure> {
    if path.exists() { Err(there(path)) } else { Ok(()) }
}

fn there(path: &Path) -> Failure {
    let path = path.display();
    Failure::Usage(format!("{path}: the file is there, and a key is not replaced: name another"))
}

fn write(path: &Path, keyring: &Keyring) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(keyring.text().as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there(path),
        _ => {
            Failure::Environment(format!("--out {}: {error}: name a file of yours", path.display()))
        }
    })
}

fn read(path: &Path) -> Result<Keyring, Failure> {
    read_of(path, |error| error.to_string())
}

/// Reads a key file; `told` is what is said of an error.
fn read_of(path: &Path, told: impl Fn(&KeyFileError) -> String) -> Result<Keyring, Failure> {
    read_keyring(path).map_err(|error| {
        let message = told(&error);
        match error {
            KeyFileError::Content { .. } => Failure::Usage(message),
            KeyFileError::Io { .. } | KeyFileError::Exposed { .. } => Failure::Environment(message),
        }
    })
}

/// The nodes' keys; none if the cluster has none, or has no file of them and is told to go without.
pub(super) fn of_nodes(
    origin: Origin<'_>,
    is_insecure: bool,
) -> Result<Option<Arc<Keyring>>, Failure> {
    const KEY: &str = "authentication.key_file";
    let Config { cluster, .. } = origin.config;
    let Some(file) = &cluster.authentication.key_file else { return Ok(None) };
    let path = beside(origin.path, file);
    if is_insecure && !path.exists() {
        complain(&format!("key file {}: it is not there; goes without", path.display()));
        return Ok(None);
    }
    let keyring = read_of(&path, |error| origin.tell(KEY, error))?;
    if keyring.holder() != KeyNumber::NODES {
        let problem = format!("{}: it is a client's: name the nodes'", path.display());
        return Err(Failure::Usage(origin.tell(KEY, problem)));
    }
    Ok(Some(Arc::new(keyring)))
}

/// A client's keys: of the file that is named, else of the one that cluster.toml names; where that
/// is not, those of client 1 if the nodes' are here.
pub(super) fn of_client_of(
    origin: Origin<'_>,
    named: Option<&Path>,
) -> Result<Option<Arc<Keyring>>, Failure> {
    const NODES: &str = "authentication.key_file";
    const CLIENT: &str = "authentication.client_key_file";
    let files = &origin.config.cluster.authentication;
    let beside = |file| beside(origin.path, file);
    // With the key that names it, if one does.
    let (path, key) = match (named, &files.client_key_file, &files.key_file) {
        (Some(named), ..) => (named.to_owned(), None),
        (None, Some(client), _) if beside(client).exists() => (beside(client), Some(CLIENT)),
        (None, client, Some(nodes)) => match client {
            Some(client) if !beside(nodes).exists() => (beside(client), Some(CLIENT)),
            _ => (beside(nodes), Some(NODES)),
        },
        (None, _, None) => return Ok(None),
    };
    let told = |error: &KeyFileError| match key {
        Some(key) => origin.tell(key, error),
        None => error.to_string(),
    };
    let keyring = read_of(&path, told)?;
    let keyring = match keyring.holder() {
        KeyNumber::NODES if key == Some(CLIENT) => {
            let remedy = "make one with `psmr keygen --client N`";
            let problem = format!("{}: it is the nodes': {remedy}", path.display());
            return Err(Failure::Usage(origin.tell(CLIENT, problem)));
        }
        KeyNumber::NODES => keyring.client(KeyNumber(FIRST)).expect("nodes know those of clients"),
        _ => keyring,
    };
    Ok(Some(Arc::new(keyring)))
}

fn beside(config: &Path, file: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(file)
}
