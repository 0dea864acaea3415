//! A load with a history, which must be linearizable at the end.

use super::deployment::{Deployment, lines, psmr};
use serde_json::Value;
use std::process::Child;

/// The keys that the B+-tree of such a cluster has to begin with.
pub(super) const KEYS: &str = "500";

/// `psmr client load`, which runs.
pub(super) struct Load {
    child: Child,
    history: String,
}

impl Load {
    /// On a cluster of [`KEYS`] keys, for so long; it waits for each answer as long as it takes.
    pub(super) fn start(cluster: &Deployment, seconds: u64) -> Self {
        let (history, seconds) = (cluster.path("history"), seconds.to_string());
        let options = ["load", "--json", "--history", &history, "--keys", KEYS];
        let mix = ["--warmup", "0", "--mix", "read=40,update=20,insert=18,delete=18,range=4"];
        let size = ["--clients", "4", "--outstanding", "8", "--range-keys", "5"];
        let time = ["--deadline", "60s", "--seconds", &seconds];
        let child = cluster.spawn_client(&[&options[..], &mix, &size, &time].concat());
        Self { child, history }
    }

    /// Waits until something of every ring was decided.
    pub(super) fn has_begun(&self, cluster: &Deployment) {
        cluster.status_when(|status| {
            let mut rings = status["rings"].as_array().expect("rings").iter();
            rings.all(|ring| ring["decided"].as_u64() > Some(50))
        });
    }

    /// Whether it is not over.
    pub(super) fn goes_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its end: every command was answered, and as if they had been executed one by one. How many.
    pub(super) fn went_well(self) -> u64 {
        let output = self.child.wait_with_output().expect("it is ours");
        let errors = lines(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(output.status.code(), Some(0), "{errors:?} {report}");
        assert_eq!((&report["schema"], &report["ok"]), (&"psmr.bench/1".into(), &true.into()));
        assert_eq!(report["unknown"], 0, "{report}");
        let check = psmr(&["sim", "--check-history", &self.history, "--keys", KEYS]);
        assert_eq!(check.status.code(), Some(0), "{:?}", lines(&check.stderr));
        report["commands"].as_u64().expect("a number")
    }
}
