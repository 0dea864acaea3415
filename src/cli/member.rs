//! `psmr member`: who belongs to a cluster, and who is to belong to it from now on.

use super::origin::Origin;
use super::status::{facts, not_asked, parse_time};
use super::versions::Unable;
use super::{Failure, client, complain, config, key, show};
use crate::config::{
    ChangeError, Cluster, Config, ConfigError, Kind, Member, Members, Node, with_members,
};
use crate::host::clock;
use crate::host::file::replace;
use crate::node::{Changed, Said, change, inquire, latest};
use crate::wire::{Keyring, NEWEST, Topic};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The format of the JSON object.
const SCHEMA: &str = "psmr.members/1";
/// How long nodes have for one answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks whether a change has come through.
const LOOK: Duration = Duration::from_millis(50);

/// What `psmr member` does.
#[derive(Debug, Subcommand)]
pub(super) enum MemberCommand {
    /// Prints the members that the cluster has now
    List(ListArgs),
    /// Has one more member from now on; start its node afterwards
    Add(AddArgs),
    /// Has one member less from now on; its node ends by itself
    Remove(RemoveArgs),
    /// Puts a new member in the place of another one, which need not live any more
    Replace(ReplaceArgs),
    /// Has all of them speak another wire version from now on, which their nodes know already
    Upgrade(UpgradeArgs),
}

/// The options of all of them.
#[derive(Debug, Args)]
struct Common {
    /// The cluster; a change that is decided is written to the file
    #[arg(long, value_name = "FILE", default_value = "cluster.toml")]
    config: PathBuf,
    /// Address of the interface to use [default: the one that leads to the cluster]
    #[arg(long, value_name = "ADDRESS")]
    interface: Option<Ipv4Addr>,
}

/// The options of those that change something.
#[derive(Debug, Args)]
struct Changing {
    #[command(flatten)]
    common: Common,
    /// When a change is given up that is not decided, and a look at its effect ends
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    patience: Duration,
    /// Goes on although too few of those that stay answer: ordering may stand still until they do
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// Writes one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Brings the file up to them
    #[arg(long)]
    update: bool,
}

/// What comes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    /// It orders; an even number of acceptors tolerates no more failures than one less
    Acceptor,
    /// It executes
    Replica,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What it is
    #[arg(value_enum)]
    kind: KindArg,
    /// Its name
    id: String,
    /// Where it listens: a host of the file or an IPv4 address, and the port of its first thread
    #[arg(long, value_name = "HOST:PORT")]
    at: String,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its name
    id: String,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    /// The member that goes
    old: String,
    /// The name of the one that comes: the same, if that begins anew with nothing
    id: String,
    /// Where it listens: a host of the file or an IPv4 address, and the port of its first thread
    #[arg(long, value_name = "HOST:PORT")]
    at: String,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The wire version; an older one takes an upgrade back [default: the newest of this psmr]
    #[arg(long, value_name = "VERSION")]
    to: Option<u8>,
    #[command(flatten)]
    changing: Changing,
}

/// Runs it.
pub(super) fn run(command: &MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(args) => list(args),
        MemberCommand::Add(AddArgs { kind, id, at, changing }) => {
            let kind = match kind {
                KindArg::Acceptor => Kind::Acceptor,
                KindArg::Replica => Kind::Replica,
            };
            let site = Site::find(&changing.common)?;
            let at = site.place(at)?;
            site.change(changing, |now| now.add(kind, id, at))
        }
        MemberCommand::Remove(RemoveArgs { id, changing }) => {
            Site::find(&changing.common)?.change(changing, |now| now.remove(id))
        }
        MemberCommand::Replace(ReplaceArgs { old, id, at, changing }) => {
            let site = Site::find(&changing.common)?;
            let at = site.place(at)?;
            site.change(changing, |now| now.replace(old, id, at))
        }
        MemberCommand::Upgrade(UpgradeArgs { to, changing }) => {
            let site = Site::find(&changing.common)?;
            site.change(changing, |now| now.upgrade(to.unwrap_or(NEWEST)))
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        Self::Usage(error.to_string())
    }
}

#[derive(Default, Serialize)]
struct Listed<'a> {
    schema: &'static str,
    ok: bool,
    error: Option<&'a str>,
    /// None if it is not known.
    epoch: Option<u32>,
    /// The wire version that they speak.
    wire: Option<u8>,
    acceptors: Vec<ListedMember<'a>>,
    replicas: Vec<ListedMember<'a>>,
}

impl Listed<'_> {
    fn show(&self) -> Result<(), Failure> {
        let text = serde_json::to_string(self).expect("members have nothing that JSON has not");
        show(&(text + "\n"))
    }
}

/// The object of a `list --json` that cannot be.
pub(super) fn show_failure(error: &str) -> Result<(), Failure> {
    Listed { schema: SCHEMA, error: Some(error), ..Listed::default() }.show()
}

#[derive(Serialize)]
struct ListedMember<'a> {
    id: &'a str,
    number: u16,
    /// The epoch in which it came.
    since: u32,
    address: String,
}

fn listed(members: &[Member]) -> Vec<ListedMember<'_>> {
    let listed = members.iter().map(|Member { number, since, id, address }| ListedMember {
        id,
        number: *number,
        since: *since,
        address: address.to_string(),
    });
    listed.collect()
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let listed = list_of(args);
    match &listed {
        Err(failure) if args.json => show_failure(&failure.to_string())?,
        _ => {}
    }
    listed
}

fn list_of(args: &ListArgs) -> Result<(), Failure> {
    let site = Site::find(&args.common)?;
    if site.told == 0 {
        let nodes = site.cluster.nodes().map(|node| format!("{} {}", node.id, node.address));
        return Err(Failure::Run(format!(
            "no node says who the members are now, tried {}; {} names those of epoch {}",
            nodes.collect::<Vec<_>>().join(", "),
            args.common.config.display(),
            site.cluster.epoch
        )));
    }
    if args.update {
        site.update(&Members::of(&site.cluster))?;
    }
    let Members { epoch, wire, acceptors, replicas, .. } = Members::of(&site.cluster);
    if args.json {
        let (acceptors, replicas) = (listed(&acceptors), listed(&replicas));
        let (epoch, wire, error) = (Some(epoch), Some(wire), None);
        return Listed { schema: SCHEMA, ok: true, error, epoch, wire, acceptors, replicas }.show();
    }
    let mut text = format!("epoch {epoch}, wire version {wire}\n");
    text += &format!("{:<9} {:>6} {:>6} {:<8} address\n", "role", "number", "since", "node");
    for (role, members) in [("acceptor", &acceptors), ("replica", &replicas)] {
        for Member { number, since, id, address } in members {
            text += &format!("{role:<9} {number:>6} {since:>6} {id:<8} {address}\n");
        }
    }
    show(&text)
}

/// A cluster, as its file and its nodes have it.
struct Site<'a> {
    common: &'a Common,
    /// The file.
    text: String,
    file: Config,
    /// With the members that the nodes know of.
    cluster: Cluster,
    /// Nodes that have told who they are.
    told: usize,
    keyring: Option<Arc<Keyring>>,
}

impl<'a> Site<'a> {
    fn find(common: &'a Common) -> Result<Self, Failure> {
        let path = &common.config;
        let file = config::read(path)?;
        let origin = Origin { path, config: &file };
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::Environment(format!("{}: {error}", path.display())))?;
        let keyring = key::of_nodes(origin, false)?;
        let latest = latest(&file.cluster, common.interface, PATIENCE, keyring.clone());
        let (cluster, told) = latest.map_err(|error| not_asked(origin, &error))?;
        Ok(Self { common, text, file, cluster, told, keyring })
    }

    fn origin(&self) -> Origin<'_> {
        Origin { path: &self.common.config, config: &self.file }
    }

    /// What the file says at `key` stands in the way.
    fn refuse(&self, key: &str, problem: String) -> Failure {
        Failure::Usage(self.origin().tell(key, problem))
    }

    /// Where `--at` points.
    fn place(&self, at: &str) -> Result<SocketAddrV4, Failure> {
        let known = || {
            let names: Vec<&str> = self.cluster.hosts.iter().map(|h| h.name.as_str()).collect();
            Failure::Usage(format!(
                "--at {at}: write HOST:PORT with an IPv4 address or one of the hosts {}",
                names.join(", ")
            ))
        };
        let (host, port) = at.rsplit_once(':').ok_or_else(known)?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(known)?;
        let named = self.cluster.hosts.iter().find(|known| known.name == host);
        let address = named.map(|host| host.address).or_else(|| host.parse().ok());
        Ok(SocketAddrV4::new(address.ok_or_else(known)?, port))
    }

    /// The file with `members`, and what it says then.
    fn with(&self, members: &Members) -> Result<(String, Cluster), Failure> {
        let refused = |error: ConfigError| {
            let ConfigError { key, problem, remedy, .. } = error;
            Failure::Usage(format!("with this change, {key}: {problem}: {remedy}"))
        };
        let text = with_members(&self.text, members).map_err(refused)?;
        let Config { cluster, .. } = Config::read(&text).map_err(refused)?;
        Ok((text, cluster))
    }

    fn update(&self, members: &Members) -> Result<(), Failure> {
        let (text, _) = self.with(members)?;
        replace(&self.common.config, text.as_bytes()).map_err(|error| {
            let path = self.common.config.display();
            Failure::Environment(format!(
                "{path}: {error}: write it with `psmr member list --update`"
            ))
        })
    }

    /// Has `next` of the members of now decided, and looks until it has effect.
    fn change(
        &self,
        changing: &Changing,
        next: impl Fn(&Members) -> Result<Members, ChangeError>,
    ) -> Result<(), Failure> {
        let now = Members::of(&self.cluster);
        let next = next(&now)?;
        let (_, cluster) = self.with(&next)?;
        if cluster.digests.immutable != self.cluster.digests.immutable {
            return Err(Failure::Usage("the file's immutable settings differ".to_owned()));
        }
        self.refuse_what_cannot_serve(&next)?;
        self.await_speakers(changing, &next)?;
        self.await_start(changing, &next)?;
        complain(&format!("epoch {}: put forward", next.epoch));
        let keyring = self.keyring.clone();
        let common = self.common;
        let changed = change(&self.cluster, &next, common.interface, changing.patience, keyring)
            .map_err(|error| not_asked(self.origin(), &error))?;
        match changed {
            Changed::Done => {}
            Changed::Other(members) => {
                return Err(Failure::Run(format!(
                    "another change came first: epoch {} has begun; run `psmr member list \
                     --update`, and this again if it is still wanted",
                    members.epoch
                )));
            }
            Changed::Full | Changed::NoQuorum | Changed::Unknown => {
                return Err(Failure::Run(undecided(&changed)));
            }
        }
        self.update(&next)?;
        complain(&format!("epoch {}: decided, {} says so", next.epoch, common.config.display()));
        self.await_effect(changing, &cluster, &now)?;
        show(&format!("epoch {}\n", next.epoch))
    }

    /// A member that could never serve, or keep the others from starting again.
    fn refuse_what_cannot_serve(&self, next: &Members) -> Result<(), Failure> {
        let comes = |member: &&Member| member.since == next.epoch;
        if self.cluster.execution.checkpoint_interval.is_zero()
            && let Some(Member { id, .. }) = next.replicas.iter().find(comes)
        {
            let problem = format!(
                "{id}: without checkpoints a new replica never gets what the logs have forgotten: set \
                 it and restart the replicas one by one"
            );
            return Err(self.refuse("execution.checkpoint_interval", problem));
        }
        let is_far = |member: &&Member| !member.address.ip().is_loopback();
        let is_insecure = self.cluster.authentication.is_insecure;
        match next.replicas.iter().chain(&next.acceptors).filter(comes).find(is_far) {
            Some(Member { id, address, .. }) if self.keyring.is_none() && !is_insecure => {
                let problem = format!(
                    "{id} at {address}: a cluster without keys stays on one host, and its nodes would \
                     not start again: give it keys first (psmr keygen), and name them here"
                );
                Err(self.refuse("authentication.key_file", problem))
            }
            _ => Ok(()),
        }
    }

    /// Waits until all nodes are known to speak the wire version of `next`, where that is another one:
    /// who does not would hear nobody any more.
    fn await_speakers(&self, changing: &Changing, next: &Members) -> Result<(), Failure> {
        let (version, held) = (next.wire, self.cluster.network.newest_wire);
        if version == self.cluster.wire {
            return Ok(());
        }
        if version > held {
            let problem = format!(
                "it holds nodes that start by this file back to wire version {held}: remove it first"
            );
            return Err(self.refuse("network.newest_wire", problem));
        }
        let until = clock::now() + changing.patience;
        loop {
            let mut deaf = None;
            let silent = self.look(&self.cluster, |said| {
                let unable = Unable::of(version, &self.cluster, said);
                let is_deaf = !unable.deaf.is_empty();
                deaf = is_deaf.then(|| unable.deaf.join(", "));
                let is_silent = !unable.silent.is_empty() && !changing.force;
                is_silent.then(|| {
                    format!(
                        "not heard: {}: whether they speak wire version {version} is not known; start \
                         them, or give --force: those that do not would end as soon as they hear of it",
                        unable.silent.join(", ")
                    )
                })
            })?;
            if let Some(deaf) = deaf {
                return Err(Failure::Run(format!(
                    "wire version {version} is not spoken by {deaf}: restart them one by one with a \
                     psmr that speaks it, without newest_wire in [network] of their files"
                )));
            }
            match silent {
                None => return Ok(()),
                Some(problem) if clock::now() >= until => return Err(Failure::Run(problem)),
                Some(_) => std::thread::park_timeout(LOOK),
            }
        }
    }

    /// Waits until the epoch of now has begun in every ring: else a quorum of the next one might not
    /// hear what was decided in the one before this.
    fn await_start(&self, changing: &Changing, next: &Members) -> Result<(), Failure> {
        let until = clock::now() + changing.patience;
        loop {
            let problem = self.look(&self.cluster, |said| {
                let Staying { voting, silent } = staying(&self.cluster, next, said);
                let needed = next.acceptors.len() / 2 + 1;
                if voting < needed && !changing.force {
                    return Some(format!(
                        "of the acceptors that stay {voting} have a vote and answer, and epoch {} \
                         needs {needed}: start them, or wait until `psmr status` shows none as \
                         inert; --force goes on without those that are silent",
                        next.epoch
                    ));
                }
                if voting + silent < needed {
                    return Some(format!(
                        "of the acceptors that stay {} have no memory, nor has one that comes, and \
                         epoch {} needs {needed} that have: nobody could ever admit them; wait until \
                         `psmr status` shows none as inert",
                        self.cluster.acceptors.len() - voting - silent,
                        next.epoch
                    ));
                }
                if !has_state(&self.cluster, next, said) && !changing.force {
                    return Some(
                        "none of the replicas that stay answers and has the state: wait until \
                         `psmr status` shows one; --force goes on without"
                            .to_owned(),
                    );
                }
                unestablished(&self.cluster, said)
            })?;
            match problem {
                None => return Ok(()),
                Some(problem) if clock::now() >= until => return Err(Failure::Run(problem)),
                Some(_) => std::thread::park_timeout(LOOK),
            }
        }
    }

    /// Waits until the next epoch has begun in every ring, and who stays is in it.
    fn await_effect(
        &self,
        changing: &Changing,
        cluster: &Cluster,
        before: &Members,
    ) -> Result<(), Failure> {
        let until = clock::now() + changing.patience;
        loop {
            let problem = self.look(cluster, |said| {
                let stays = |node: &Node| {
                    before.find(&node.id).is_some_and(|(_, member)| member.since == node.since)
                };
                let mut nodes = cluster.nodes().zip(said);
                let silent = nodes.find(|(node, said)| said.facts.is_none() && stays(node));
                let silent = silent.map(|(node, _)| format!("{} does not answer yet", node.id));
                unestablished(cluster, said).or(silent)
            })?;
            match problem {
                None => return Ok(()),
                Some(problem) if clock::now() >= until => {
                    // What was decided is done; this is news, not a failure.
                    complain(&format!("epoch {} is decided, but {problem}", cluster.epoch));
                    return Ok(());
                }
                Some(_) => std::thread::park_timeout(LOOK),
            }
        }
    }

    fn look(
        &self,
        cluster: &Cluster,
        judge: impl FnOnce(&[Said]) -> Option<String>,
    ) -> Result<Option<String>, Failure> {
        let keyring = self.keyring.clone();
        let (asked, said) = inquire(cluster, self.common.interface, PATIENCE / 4, keyring)
            .map_err(|error| not_asked(self.origin(), &error))?;
        if asked.epoch != cluster.epoch {
            return Ok(Some(format!("epoch {} has begun meanwhile", asked.epoch)));
        }
        if let Some(reason) = said.iter().find_map(|said| said.mismatch) {
            return Ok(Some(client::told(reason).to_owned()));
        }
        Ok(judge(&said))
    }
}

/// Why a change is not known to be decided.
fn undecided(changed: &Changed) -> String {
    match changed {
        Changed::Full => "not decided: the acceptors' logs are full, or the ring has just a new \
                          coordinator: see `psmr status`, and try again"
            .to_owned(),
        Changed::NoQuorum => "not decided: too few acceptors have a vote: see `psmr status`, and \
                              start those that are down"
            .to_owned(),
        _ => "not known to be decided: look with `psmr member list`, and try again if the epoch \
              has not changed"
            .to_owned(),
    }
}

/// The acceptors of an epoch that are in the next one, too.
struct Staying {
    /// Have a vote in every ring, as they say.
    voting: usize,
    /// Say nothing: they may have.
    silent: usize,
}

fn staying(cluster: &Cluster, next: &Members, said: &[Said]) -> Staying {
    let mut staying = Staying { voting: 0, silent: 0 };
    for (node, said) in cluster.acceptors.iter().zip(said) {
        if next.acceptors.iter().any(|m| m.id == node.id && m.since == node.since) {
            let mut ballots = facts(said, Topic::Ballot).peekable();
            if ballots.peek().is_none() {
                staying.silent += 1;
            } else if ballots.all(|fact| fact.values[2] & 2 == 0) {
                staying.voting += 1;
            }
        }
    }
    staying
}

/// Whether a replica of `cluster` stays in `next`, answers, and has the state.
fn has_state(cluster: &Cluster, next: &Members, said: &[Said]) -> bool {
    let replicas = cluster.replicas.iter().zip(&said[cluster.acceptors.len()..]);
    let mut staying = replicas
        .filter(|(node, _)| next.replicas.iter().any(|m| m.id == node.id && m.since == node.since));
    staying.any(|(_, said)| {
        let mut applied = facts(said, Topic::Applied).peekable();
        applied.peek().is_some() && applied.all(|fact| fact.values[2] == 0)
    })
}

/// A ring in which no ballot of the epoch leads that has decided all that it inherited.
fn unestablished(cluster: &Cluster, said: &[Said]) -> Option<String> {
    let leads = |ring: u16| {
        said.iter()
            .flat_map(|said| facts(said, Topic::Ballot))
            .any(|fact| fact.index == ring && fact.values[2] & 5 == 5)
    };
    let rings = u16::try_from(cluster.rings.len()).expect("at most 65 rings");
    let ring = (0..rings).find(|ring| !leads(*ring))?;
    Some(format!(
        "ring {ring} has no coordinator that is ready in epoch {}: see `psmr status`",
        cluster.epoch
    ))
}
