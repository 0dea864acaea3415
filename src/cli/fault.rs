//! `--fault` of `psmr node`: a bad network, as a test asks for it.

use crate::config::{Cluster, duration};
use crate::transport::middleware::{Cuts, Faults};
use std::time::Duration;

/// What is to happen to received datagrams.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    /// All of it but the seed and the senders that are cut.
    pub(super) faults: Faults,
    /// The ids of these.
    pub(super) cut: Vec<String>,
}

/// Reads NAME=VALUE,..
pub(super) fn parse(text: &str) -> Result<Fault, String> {
    let faults = Faults { delay_by: Duration::from_millis(5), ..Faults::default() };
    let mut fault = Fault { faults, ..Fault::default() };
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or(format!("`{part}` is not NAME=VALUE"))?;
        fault.set(name, value)?;
    }
    let Cuts { lasting, every, .. } = fault.faults.cuts;
    if lasting.is_zero() != every.is_zero() {
        return Err("cut-for and cut-every go together: give both, as in \
                    cut-for=300ms,cut-every=2s"
            .to_owned());
    }
    if lasting > every {
        let message = "cut-for is longer than cut-every: a cut ends before the next one";
        return Err(message.to_owned());
    }
    Ok(fault)
}

impl Fault {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Faults { loss, duplication, reordering, delay, delay_by, flip, cuts, .. } =
            &mut self.faults;
        let time = || duration(value).ok_or(format!("{value} is no time, as in 5ms"));
        let share = match name {
            "cut" => {
                self.cut = value.split('+').map(str::to_owned).collect();
                return Ok(());
            }
            "cut-for" | "cut-every" => {
                let time = time()?;
                if time.is_zero() {
                    return Err(format!("{name}={value}: choose more than nothing"));
                }
                *if name == "cut-for" { &mut cuts.lasting } else { &mut cuts.every } = time;
                return Ok(());
            }
            "delay-by" => {
                *delay_by = time()?;
                return Ok(());
            }
            "loss" => loss,
            "duplication" => duplication,
            "reordering" => reordering,
            "delay" => delay,
            "flip" => flip,
            _ => return Err(format!("there is no fault {name}")),
        };
        let percent: f64 = value.parse().map_err(|_| format!("{value} is no number"))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{percent} is no percentage"));
        }
        *share = percent;
        Ok(())
    }

    /// Whoever is cut off belongs to `cluster`.
    pub(super) fn check(&self, cluster: &Cluster) -> Result<(), String> {
        let is_known = |id: &&String| cluster.nodes().any(|node| node.id == **id);
        let Some(unknown) = self.cut.iter().find(|id| !is_known(id)) else { return Ok(()) };
        let known: Vec<&str> = cluster.nodes().map(|node| node.id.as_str()).collect();
        Err(format!(
            "--fault cut={unknown}: the cluster has no such node in epoch {}: choose among {}",
            cluster.epoch,
            known.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_times_and_senders_are_read() {
        let ms = Duration::from_millis;
        let fault = parse("loss=1.5,flip=100,cut=a1+r2,cut-for=300ms,cut-every=2s").unwrap();
        let cuts = Cuts { lasting: ms(300), every: ms(2_000), ..Cuts::default() };
        let faults = Faults { loss: 1.5, flip: 100.0, delay_by: ms(5), cuts, ..Faults::default() };
        assert_eq!(fault, Fault { faults, cut: vec!["a1".to_owned(), "r2".to_owned()] });
        assert_eq!(parse("delay=2,delay-by=7ms").unwrap().faults.delay_by, ms(7));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        for (text, part) in [
            ("fire=3", "fire"),
            ("loss", "`loss`"),
            ("loss=much", "much"),
            ("loss=101", "101"),
            ("delay-by=5", "5 is no time"),
            ("cut-for=1s", "cut-every"),
            ("cut=a1,cut-every=1s", "cut-for"),
            ("cut-for=2s,cut-every=1s", "longer"),
            ("cut-for=0ms,cut-every=1s", "cut-for=0ms"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }
}
