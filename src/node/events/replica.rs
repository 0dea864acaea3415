//! Where a replica is with its state, and with the file of its checkpoints.

use super::{Names, Told, Weight};
use crate::host::text::size;
use crate::node::observer::{KeptFigures, ReplicaFigures};
use crate::types::Time;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// So long after it was told whom a replica asks, or that it cannot write, that is not told again.
const PAUSE: Duration = Duration::from_secs(60);

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It answers.
    Serving,
    /// It has a state, and answers nobody before that is of today.
    CatchingUp,
    /// What it needs next is forgotten by the acceptors.
    Lost,
}

/// What was told of a replica.
#[derive(Debug)]
pub(super) struct Replica {
    /// Of its checkpoints.
    file: PathBuf,
    standing: Option<Standing>,
    transfers: u64,
    /// Since when it lacks its state, or catches up.
    since: Time,
    /// Who was said to be asked for a checkpoint, and when.
    source: Option<(u64, Time)>,
    /// It has told that it saves checkpoints.
    has_saved: bool,
    /// Failures when they were told last, and when; `None`: the last one was saved.
    failing: Option<(u64, Time)>,
}

impl Replica {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self {
            file,
            standing: None,
            transfers: 0,
            since: Time::ZERO,
            source: None,
            has_saved: false,
            failing: None,
        }
    }

    pub(super) fn look(
        &mut self,
        figures: &ReplicaFigures,
        names: &Names,
        now: Time,
        told: &mut Told,
    ) {
        if self.standing.is_none() {
            self.since = now;
            self.begin(figures, told);
        }
        self.recover(figures, names, now, told);
        self.stand(figures, now, told);
        self.keep(&figures.kept, now, told);
    }

    /// What it has of its former life.
    fn begin(&self, figures: &ReplicaFigures, told: &mut Told) {
        let file = self.file.display();
        if figures.kept.damaged > 0 {
            let text = format!(
                "its checkpoint was damaged and is now {file}.damaged: it begins without one, as a \
                 new replica does; check the disk, then remove the file"
            );
            told.push((Weight::Warning, text));
        }
        if let Some(slot) = figures.state.restored.checked_sub(1)
            && figures.state.transfers == 0
        {
            told.push((
                Weight::Notice,
                format!("begins with its checkpoint at slot {slot}: {file}"),
            ));
        }
    }

    /// That it has no state, and where it gets another.
    fn recover(&mut self, figures: &ReplicaFigures, names: &Names, now: Time, told: &mut Told) {
        let ReplicaFigures { is_lost, state, .. } = figures;
        let has_more = state.transfers > self.transfers;
        let needs = *is_lost || state.source > 0;
        // A small state comes between two looks.
        if (needs || has_more) && self.standing != Some(Standing::Lost) {
            self.standing = Some(Standing::Lost);
            (self.since, self.source) = (now, None);
            let text = "is lost: the acceptors have forgotten what it needs next; it answers nobody \
                        before it has the checkpoint of another replica";
            told.push((Weight::Warning, text.to_owned()));
        }
        let seconds = now.since(self.since).as_secs_f64();
        if has_more {
            self.transfers = state.transfers;
            let from = self.source.take();
            let from = from.map_or_else(|| "another replica".to_owned(), |(n, _)| names.name(n));
            let slot = state.restored.saturating_sub(1);
            let text = format!(
                "has the checkpoint of {from} at slot {slot} after {seconds:.1} s: reads from the \
                 acceptors what follows it"
            );
            told.push((Weight::Notice, text));
        }
        if let Some(source) = state.source.checked_sub(1)
            && self.source.is_none_or(|(known, at)| known != source && now.since(at) >= PAUSE)
        {
            self.source = Some((source, now));
            let name = names.name(source);
            told.push((Weight::Notice, format!("fetches the checkpoint of {name}")));
        }
    }

    /// Whether it answers.
    fn stand(&mut self, figures: &ReplicaFigures, now: Time, told: &mut Told) {
        let standing = match figures {
            ReplicaFigures { is_lost: true, .. } => Standing::Lost,
            ReplicaFigures { state, .. } if state.source > 0 => Standing::Lost,
            ReplicaFigures { is_muted: true, .. } => Standing::CatchingUp,
            _ => Standing::Serving,
        };
        let former = self.standing.replace(standing);
        let position = figures.position;
        match standing {
            Standing::Serving if former != Some(standing) => {
                let seconds = now.since(self.since).as_secs_f64();
                let text = format!("is level at slot {position} after {seconds:.1} s, and answers");
                told.push((Weight::Notice, text));
            }
            Standing::CatchingUp if former.is_none() => {
                let text = "answers nobody before it is level with what the acceptors have ordered";
                told.push((Weight::Notice, text.to_owned()));
            }
            _ => {}
        }
    }

    /// How the file of its checkpoints is.
    fn keep(&mut self, kept: &KeptFigures, now: Time, told: &mut Told) {
        let KeptFigures { saves, failures, error, .. } = *kept;
        let file = self.file.display();
        let saved = |how: &str| {
            let (bytes, took) = (size(kept.bytes), Duration::from_nanos(kept.nanoseconds));
            (Weight::Notice, format!("{how}: {bytes} in {took:.0?}, {file}"))
        };
        if error != 0 {
            let is_news = |(count, at)| failures > count && now.since(at) >= PAUSE;
            if self.failing.is_none_or(is_news) {
                self.failing = Some((failures, now));
                let error = io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(i32::MAX));
                let text = format!(
                    "cannot save its checkpoint {file}: {error}; {failures} failed, the last one \
                     stays, and with durability sync the acceptors' logs fill up: make room there or \
                     mend the disk (--data-dir names another place)"
                );
                told.push((Weight::Error, text));
            }
        } else if self.failing.take().is_some() {
            self.has_saved = true;
            told.push(saved("saves checkpoints again"));
        } else if saves > 0 && !self.has_saved {
            self.has_saved = true;
            told.push(saved("has saved a checkpoint, and will go on without a word"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that is looked at every 100 ms.
    struct Scene {
        replica: Replica,
        names: Names,
        now: Time,
    }

    impl Scene {
        fn new() -> Self {
            let names = Names([(40, "r2".to_owned())].into());
            Self { replica: Replica::new("/data/r1/checkpoint".into()), names, now: Time(1) }
        }

        fn look(&mut self, figures: &ReplicaFigures) -> Vec<String> {
            self.now = self.now + Duration::from_millis(100);
            let mut told = Told::new();
            self.replica.look(figures, &self.names, self.now, &mut told);
            told.into_iter().map(|(_, line)| line).collect()
        }

        /// It is said to be like that, once, in so many lines that begin with these words.
        fn says(&mut self, figures: &ReplicaFigures, starts: &[&str]) {
            let told = self.look(figures);
            let is_said = told.iter().zip(starts).all(|(line, start)| line.starts_with(start));
            assert!(told.len() == starts.len() && is_said, "{told:?} instead of {starts:?}");
            assert_eq!(self.look(figures), [""; 0]);
        }
    }

    const NOTHING: &[&str] = &[];

    #[test]
    fn a_replica_says_that_it_is_lost_whom_it_asks_and_that_it_is_level_again() {
        let mut scene = Scene::new();
        let mut figures = ReplicaFigures { is_muted: true, position: 17, ..Default::default() };
        scene.says(&figures, &["answers nobody before it is level"]);
        figures.is_muted = false;
        scene.says(&figures, &["is level at slot 17 after 0.2 s"]);
        (figures.is_muted, figures.is_lost) = (true, true);
        scene.says(&figures, &["is lost: "]);
        figures.state.source = 41;
        scene.says(&figures, &["fetches the checkpoint of r2"]);
        (figures.state.source, figures.is_lost) = (0, false);
        (figures.state.transfers, figures.state.restored) = (1, 100);
        scene.says(&figures, &["has the checkpoint of r2 at slot 99 after 0.4 s"]);
        figures.is_muted = false;
        scene.says(&figures, &["is level at slot 17 after 0.6 s"]);
        // Another time it is too quick to be seen.
        figures.state.transfers = 2;
        scene.says(&figures, &["is lost", "has the checkpoint of another replica", "is level"]);
    }

    #[test]
    fn a_replica_says_what_it_has_of_its_former_life() {
        let mut scene = Scene::new();
        let mut figures = ReplicaFigures::default();
        figures.state.restored = 10;
        scene.says(&figures, &["begins with its checkpoint at slot 9: /data", "is level"]);
        let mut figures = ReplicaFigures::default();
        figures.kept.damaged = 1;
        let told = "its checkpoint was damaged and is now /data/r1/checkpoint.damaged: ";
        Scene::new().says(&figures, &[told, "is level"]);
    }

    #[test]
    fn the_first_checkpoint_is_told_and_those_that_cannot_be_saved() {
        let mut scene = Scene::new();
        let mut figures = ReplicaFigures::default();
        scene.says(&figures, &["is level"]);
        figures.kept =
            KeptFigures { saves: 1, bytes: 3 << 20, nanoseconds: 7_000_000, ..figures.kept };
        let told = scene.look(&figures);
        assert!(told.len() == 1 && told[0].contains("3 MiB in 7ms, /data/r1/check"), "{told:?}");
        figures.kept.saves = 2;
        scene.says(&figures, NOTHING);
        (figures.kept.failures, figures.kept.error) = (1, 28);
        let told = "cannot save its checkpoint /data/r1/checkpoint: No space left on device";
        scene.says(&figures, &[told]);
        let mut again = 0;
        for failures in 2..1302 {
            figures.kept.failures = failures;
            again += scene.look(&figures).len();
        }
        assert_eq!(again, 2, "130 s");
        (figures.kept.saves, figures.kept.error) = (3, 0);
        scene.says(&figures, &["saves checkpoints again: "]);
    }
}
