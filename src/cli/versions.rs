//! Which wire versions the nodes of a cluster speak, as they say.

use super::status::facts;
use crate::config::Cluster;
use crate::node::Said;
use crate::wire::Topic;
use serde::Serialize;

/// What one node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Spoken {
    /// In the epoch that it is in.
    pub(super) version: u64,
    /// From this one ...
    pub(super) oldest: u64,
    /// ... to this one it can.
    pub(super) newest: u64,
}

impl Spoken {
    /// As a node says; `None`: it does not answer, or is of a time when there was but one version.
    pub(super) fn of(said: &Said) -> Option<Self> {
        let [version, oldest, newest] = facts(said, Topic::Wire).next()?.values;
        Some(Self { version, oldest, newest })
    }

    /// The range that it can speak.
    pub(super) fn range(&self) -> String {
        format!("{}-{}", self.oldest, self.newest)
    }
}

/// Who keeps a cluster from another version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unable<'a> {
    /// These have answered, and do not speak it.
    pub(super) deaf: Vec<&'a str>,
    /// These have not been heard.
    pub(super) silent: Vec<&'a str>,
}

impl<'a> Unable<'a> {
    /// Of the nodes of `cluster`, which have `said` what they have, those not known to speak `to`.
    pub(super) fn of(to: u8, cluster: &'a Cluster, said: &[Said]) -> Self {
        let mut unable = Self::default();
        for (node, said) in cluster.nodes().zip(said) {
            let speaks = |spoken: Spoken| (spoken.oldest..=spoken.newest).contains(&to.into());
            if said.facts.is_none() {
                unable.silent.push(&node.id);
            } else if !Spoken::of(said).is_some_and(speaks) {
                unable.deaf.push(&node.id);
            }
        }
        unable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Init};
    use crate::wire::Fact;

    #[test]
    fn who_does_not_speak_a_version_and_who_was_not_heard_are_kept_apart() {
        let init = Init { replicas: 1, ..Init::example() };
        let text = init.text().expect("there are ports");
        let cluster = Config::read(&text).expect("it is sound").cluster;
        let said = |facts: &[Fact]| Said { facts: Some(facts.to_vec()), mismatch: None };
        let process = Fact::new(Topic::Process, 0, [1, 0, 1]);
        let speaks = |newest| said(&[process, Fact::new(Topic::Wire, 0, [1, 1, newest])]);
        let said = [speaks(2), speaks(1), Said::default(), said(&[process])];
        let unable = Unable::of(2, &cluster, &said);
        assert_eq!(unable, Unable { deaf: vec!["a2", "r1"], silent: vec!["a3"] });
        assert_eq!(Spoken::of(&said[0]).map(|spoken| spoken.range()).as_deref(), Some("1-2"));
    }
}
