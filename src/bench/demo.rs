//! The main job: SMR, P-SMR and opt-PSMR at growing shares of dependent commands.

use super::{Machine, Model, Settings};

/// The models, in the order of the papers.
pub(super) const MODELS: [Model; 3] = [Model::Smr, Model::Psmr, Model::OptPsmr];
/// The shares of dependent commands, percent.
pub(super) const SHARES: [f64; 5] = [0.0, 1.0, 10.0, 50.0, 100.0];

/// The runs of the demonstration: every model at every share, with `keys` loaded and `seconds`
/// measured each.
#[must_use]
pub fn demo_plan(keys: u64, seconds: f64, machine: &Machine) -> Vec<Settings> {
    let base = Settings {
        keys,
        key_space: 2 * keys,
        seconds,
        warmup: (seconds / 4.0).min(1.0),
        ..Settings::default()
    };
    let threads = |model| match model {
        Model::Smr => 1,
        Model::Psmr | Model::OptPsmr => machine.suitable_threads(base.replicas),
    };
    let run = |model, share| {
        let run =
            Settings { model, threads: threads(model), dependent: Some(share), ..base.clone() };
        Settings { worker_threads: machine.suitable_worker_threads(&run), ..run }
    };
    MODELS.iter().flat_map(|&model| SHARES.map(|share| run(model, share))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_of_the_demonstration_is_valid_and_together_they_are_short() {
        for cores in [1, 2, 64] {
            let machine = Machine { cores, memberships: 20, memory: u64::MAX };
            let plan = demo_plan(1_000_000, 2.0, &machine);
            assert_eq!(plan.len(), 15);
            assert!(plan.iter().all(|settings| settings.validate(&machine).is_ok()));
            let seconds: f64 = plan.iter().map(|run| run.warmup + run.seconds).sum();
            assert!(seconds < 45.0, "{seconds}");
        }
    }
}
