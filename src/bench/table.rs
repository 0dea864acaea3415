//! Reports for people: one run as lines, several as a table and a chart of 80 columns.

use super::{
    Io, Latency, Logs, Memory, Model, Network, Replica, Report, Ring, Settings, Synchronous,
    Transport,
};
use crate::host::text::counted;
use std::fmt::Write;

/// Rows of bars in the chart.
const HEIGHT: usize = 12;
/// Columns of a bar, and of the group of one share.
const BAR: usize = 3;
const GROUP: usize = 13;

/// One run.
#[must_use]
pub fn human(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in measured(report).into_iter().chain(cluster(report)) {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    text
}

/// What datagrams travel by.
const fn carrier(config: &Settings) -> &'static str {
    match (config.transport, config.io) {
        (Transport::Memory, _) => "memory",
        (Transport::Uring, Io::Socket) => "plain sockets",
        (Transport::Uring, Io::Auto | Io::Uring) => "io_uring",
    }
}

/// What the clients measured.
fn measured(report: &Report) -> Vec<(String, String)> {
    let config = &report.config;
    let run = format!(
        "{} on {}: {}, {} a ring, over {}, {}, {} outstanding",
        config.model,
        config.service,
        config.crews(),
        counted(config.acceptors, "acceptor"),
        carrier(config),
        counted(config.clients, "client"),
        config.outstanding
    );
    let throughput = format!(
        "{} commands/s ({} in {} s)",
        thousands(report.commands_per_s),
        report.commands,
        report.seconds
    );
    let cpu = format!("{:.0} ns a command, clients included", report.cpu_ns_per_command);
    let mut lines = vec![
        ("host", report.host.to_string()),
        ("run", run),
        ("throughput", throughput),
        ("CPU", cpu),
        ("latency", latency(&report.latency_us)),
        ("silence", format!("{:.1} us without an answer at most", report.silence_us)),
        ("allocations", format!("{} after warm-up", report.allocations_after_warmup)),
        ("memory", memory(&report.memory)),
    ];
    let checks = &report.checks;
    if checks.passed + checks.failed > 0 {
        let counts = format!(
            "{} passed, {} failed ({:.3} %): {} structure, {} bounds",
            checks.passed,
            checks.failed,
            report.failed_checks_percent(),
            checks.failed_structure,
            checks.failed_bounds
        );
        lines.push(("checks", counts));
        lines.push(("  passed", latency(&checks.latency_us_passed)));
        lines.push(("  failed", latency(&checks.latency_us_failed)));
    }
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the cluster counted.
fn cluster(report: &Report) -> Vec<(String, String)> {
    let Synchronous { barriers, commands, wait_ns_mean } = report.synchronous;
    let Network {
        datagrams_sent,
        datagrams_received,
        trains,
        repairs,
        duplicates,
        buffer_drops,
        attempts,
        retries,
        refused,
    } = report.network;
    let synchronous =
        format!("{barriers} barriers, {commands} commands, mean wait {wait_ns_mean:.0} ns");
    let network = format!(
        "{datagrams_sent} datagrams sent, {datagrams_received} received, {trains} trains, \
         {repairs} repairs, {duplicates} duplicates, {buffer_drops} dropped by the kernel"
    );
    let sent = format!(
        "{attempts} attempts at commands, {retries} for want of an answer; {refused} proposals refused"
    );
    let lines = [("synchronous", synchronous), ("network", network), ("clients", sent)];
    let mut lines = lines.map(|(name, text)| (name.to_owned(), text)).to_vec();
    let Logs { records, blocks, bytes, waited, indirect } = report.logs;
    if let Some(mean) = bytes.checked_div(blocks) {
        let cache =
            if indirect > 0 { ", through the page cache: no direct writes here" } else { "" };
        let logs =
            format!("{records} records in {blocks} blocks of {mean} bytes, {waited} waits{cache}");
        lines.push(("logs".to_owned(), logs));
    }
    for Ring { ring, instances, skips, commands_per_instance } in &report.rings {
        let counts = format!(
            "{instances} instances, {skips} skips, {commands_per_instance:.1} commands an instance"
        );
        lines.push((format!("ring {ring}"), counts));
    }
    for Replica { id, position, digest } in &report.replicas {
        lines.push((format!("replica {id}"), format!("digest {digest} at {position}")));
    }
    lines
}

fn latency(latency: &Latency) -> String {
    let Latency { mean, p50, p90, p99, p999, max } = latency;
    format!(
        "{mean:.1} us mean; 50 % {p50:.1}, 90 % {p90:.1}, 99 % {p99:.1}, 99.9 % {p999:.1}, max \
         {max:.1}"
    )
}

#[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
fn memory(memory: &Memory) -> String {
    let Memory { rss_after_warmup_bytes, rss_at_end_bytes, heap_growth_bytes } = memory;
    let megabytes = |bytes: &u64| *bytes as f64 / 1e6;
    format!(
        "{:.1} MB resident after warm-up, {:.1} MB at the end; heap {heap_growth_bytes:+} bytes",
        megabytes(rss_after_warmup_bytes),
        megabytes(rss_at_end_bytes)
    )
}

/// 1234567.8 as 1,234,568.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Several runs, a line each.
#[must_use]
pub fn comparison(reports: &[Report]) -> String {
    let head = ["model", "dependent %", "thousand/s", "p50 us", "p99 us", "CPU ns/cmd", "failed %"];
    let head = row(head);
    let mut text = format!("{head}{}\n", "-".repeat(head.len() - 1));
    let mut previous = None;
    for report in reports {
        let config = &report.config;
        if previous.is_some_and(|model| model != config.model) {
            text.push('\n');
        }
        previous = Some(config.model);
        let failed = match config.model {
            Model::OptPsmr => format!("{:.2}", report.failed_checks_percent()),
            Model::Smr | Model::Psmr => "-".to_owned(),
        };
        text.push_str(&row([
            title(config.model),
            &config.dependent.unwrap_or(0.0).to_string(),
            &format!("{:.1}", report.commands_per_s / 1e3),
            &format!("{:.0}", report.latency_us.p50),
            &format!("{:.0}", report.latency_us.p99),
            &format!("{:.0}", report.cpu_ns_per_command),
            &failed,
        ]));
    }
    text
}

fn row(cells: [&str; 7]) -> String {
    let [model, dependent, throughput, p50, p99, cpu, failed] = cells;
    format!("{model:<9} {dependent:>11} {throughput:>12} {p50:>9} {p99:>9} {cpu:>12} {failed:>9}\n")
}

/// Throughput against the share of dependent commands: a group of bars a share, a bar a model.
#[must_use]
pub fn chart(reports: &[Report]) -> String {
    let mut shares: Vec<f64> = reports.iter().filter_map(|r| r.config.dependent).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    let most = reports.iter().map(|r| r.commands_per_s).fold(0.0, f64::max);
    let top = round_up(most / 1e3);
    let mut text =
        "Thousand commands a second against the share of dependent commands\n\n".to_owned();
    for row in (0..HEIGHT).rev() {
        let label = if row % 3 == 2 { axis(top, row + 1) } else { String::new() };
        let _ = write!(text, "{label:>8} |");
        for &share in &shares {
            text.push_str("  ");
            for model in super::demo::MODELS {
                let height = height_of(reports, model, share, top);
                let cell = if height > row { fill(model) } else { ' ' };
                text.extend(std::iter::repeat_n(cell, BAR));
            }
            text.extend(std::iter::repeat_n(' ', GROUP - 2 - 3 * BAR));
        }
        trim_line(&mut text);
    }
    let _ = writeln!(text, "{:>8} +{}", "0", "-".repeat(GROUP * shares.len()));
    let _ = write!(text, "{:>10}", "");
    for share in &shares {
        let _ = write!(text, "{:^GROUP$}", format!("{share} %"));
    }
    trim_line(&mut text);
    let legend = super::demo::MODELS.map(|m| format!("{0}{0} {1}", fill(m), title(m)));
    let _ = writeln!(text, "\n{:>10}  {}", "", legend.join("    "));
    text
}

fn trim_line(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// How many rows the bar of a model at a share fills; at least one if there is any throughput.
#[expect(clippy::cast_possible_truncation, reason = "at most the height")]
#[expect(clippy::cast_sign_loss, reason = "throughput is not negative")]
fn height_of(reports: &[Report], model: Model, share: f64, top: f64) -> usize {
    let is_it = |r: &&Report| r.config.model == model && r.config.dependent == Some(share);
    let rate = reports.iter().find(is_it).map_or(0.0, |report| report.commands_per_s / 1e3);
    let rows = (rate / top * HEIGHT as f64).round() as usize;
    if rate > 0.0 { rows.clamp(1, HEIGHT) } else { 0 }
}

fn axis(top: f64, row: usize) -> String {
    let value = top * row as f64 / HEIGHT as f64;
    if top < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// The next of 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8 times a power of ten: quarters of it are round.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|&top| top >= value).unwrap_or(10.0 * power)
}

const fn fill(model: Model) -> char {
    match model {
        Model::Smr => '░',
        Model::Psmr => '▒',
        Model::OptPsmr => '█',
    }
}

const fn title(model: Model) -> &'static str {
    match model {
        Model::Smr => "SMR",
        Model::Psmr => "P-SMR",
        Model::OptPsmr => "opt-PSMR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Machine, demo_plan};

    fn reports() -> Vec<Report> {
        let machine = Machine { cores: 2, memberships: 20, memory: u64::MAX };
        let report = |(index, settings)| {
            let mut report = Report::new(settings);
            report.commands_per_s = [900e3, 850e3, 700e3, 420e3, 300e3][index % 5];
            report.latency_us.p99 = 12_345.6;
            report
        };
        demo_plan(1_000, 1.0, &machine).into_iter().enumerate().map(report).collect()
    }

    #[test]
    fn table_and_chart_fit_80_columns() {
        let (table, chart) = (comparison(&reports()), chart(&reports()));
        for line in table.lines().chain(chart.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
        assert_eq!(table.lines().count(), 2 + 15 + 2);
        println!("{table}\n{chart}");
    }

    #[test]
    fn the_highest_bar_fills_the_chart_and_half_of_it_fills_half() {
        let mut reports = reports();
        reports[0].commands_per_s = 1_000e3;
        reports[1].commands_per_s = 500e3;
        assert_eq!(height_of(&reports, Model::Smr, 0.0, round_up(1_000.0)), HEIGHT);
        assert_eq!(height_of(&reports, Model::Smr, 1.0, round_up(1_000.0)), HEIGHT / 2);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(thousands(1_234_567.8), "1,234,568");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(0.0), "0");
    }
}
