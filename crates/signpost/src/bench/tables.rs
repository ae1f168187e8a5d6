//! The report as tables for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::report::{Integrity, Latency, Report, ServerMemory, Setup};

/// Columns of the memory plot.
const PLOT_COLUMNS: usize = 60;

impl Report {
    /// For people.
    pub(super) fn tables(&self) -> String {
        let mut text = String::new();
        for line in [&self.workload, &Some(self.setup.line())]
            .into_iter()
            .flatten()
        {
            writeln!(text, "{line}").expect("writing to a String cannot fail");
        }
        for table in [
            self.throughput_table(),
            self.latency_table(),
            self.cost_table(),
            self.integrity_table(),
        ] {
            writeln!(text, "\n{table}").expect("writing to a String cannot fail");
        }
        if let Some(memory) = self
            .memory
            .as_ref()
            .filter(|memory| !memory.samples.is_empty())
        {
            writeln!(text, "\n{}", memory.plot()).expect("writing to a String cannot fail");
        }
        let verdict = if self.passed {
            "Nothing lost, no bad signature.".to_owned()
        } else {
            format!("FAILED: {}", self.integrity.failures())
        };
        writeln!(text, "\n{verdict}").expect("writing to a String cannot fail");
        text
    }

    fn throughput_table(&self) -> Table {
        let throughput = &self.throughput;
        let mut table = table(&["throughput", ""]);
        table.add_row(["accepted/s", &grouped(throughput.accepted_per_second)]);
        table.add_row(["delivered/s", &grouped(throughput.delivered_per_second)]);
        table.add_row([
            "delivered/s to the last",
            &grouped(throughput.delivered_per_second_to_the_last),
        ]);
        table.add_row([
            "measured for",
            &format!("{:.2} s", throughput.measured_seconds),
        ]);
        table.add_row([
            "last delivery after publishing",
            &format!("{:.3} s", throughput.drain_seconds),
        ]);
        if let Some(seconds) = throughput.stop_seconds {
            table.add_row(["server stopped in", &format!("{seconds:.3} s")]);
        }
        table
    }

    fn latency_table(&self) -> Table {
        let mut table = table(&["latency, ms", "p50", "p95", "p99", "max", "count"]);
        for (name, latency) in &self.latency_ms {
            let Latency {
                count,
                p50,
                p95,
                p99,
                max,
            } = latency;
            let name = name.replace('_', " ");
            let values = [p50, p95, p99, max].map(|value| format!("{value:.2}"));
            table.add_row([vec![name], values.to_vec(), vec![count.to_string()]].concat());
        }
        table
    }

    fn cost_table(&self) -> Table {
        let cost = |seconds: Option<f64>, cores: Option<f64>| {
            let show = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.digits$}"))
            };
            [show(seconds, 4), show(cores, 2)]
        };
        let cpu = &self.cpu;
        let mut table = table(&["CPU", "s per 1,000 deliveries", "cores busy"]);
        let [seconds, cores] = cost(cpu.server_seconds_per_1000_deliveries, cpu.server_cores);
        table.add_row(["server", &seconds, &cores]);
        if cpu.database_seconds_per_1000_deliveries.is_some() {
            let [seconds, cores] =
                cost(cpu.database_seconds_per_1000_deliveries, cpu.database_cores);
            table.add_row(["PostgreSQL", &seconds, &cores]);
            let cores = cpu.server_cores.zip(cpu.database_cores);
            let [seconds, cores] = cost(
                cpu.total_seconds_per_1000_deliveries,
                cores.map(|(server, database)| server + database),
            );
            table.add_row(["server and PostgreSQL", &seconds, &cores]);
        }
        let [seconds, cores] = cost(cpu.load_seconds_per_1000_deliveries, cpu.load_cores);
        table.add_row(["generator and receiver", &seconds, &cores]);
        if let Some(memory) = &self.memory {
            let bytes = [memory.idle_bytes, memory.peak_bytes, memory.end_bytes].map(mebibytes);
            table.add_row(["memory idle, peak, end", &bytes.join(", "), ""]);
        }
        table
    }

    fn integrity_table(&self) -> Table {
        let integrity = &self.integrity;
        let mut table = table(&["events", ""]);
        let counts = [
            ("accepted", integrity.accepted),
            ("delivered", integrity.delivered),
            ("lost", integrity.lost),
            ("duplicated", integrity.duplicated),
            ("signatures verified", integrity.signatures_verified),
            ("bad signatures", integrity.bad_signatures),
        ];
        let seldom = [
            (
                "delivered to slow, dead and failing endpoints",
                integrity.delivered_to_others,
            ),
            ("wrong ids", integrity.wrong_ids),
            ("requests about nothing known", integrity.unknown),
            (
                "delivered though not acknowledged",
                integrity.unacknowledged,
            ),
            ("refused once", integrity.refused_once),
        ];
        for (name, count) in counts
            .into_iter()
            .chain(seldom.into_iter().filter(|(_, count)| *count > 0))
        {
            table.add_row([name.to_owned(), count.to_string()]);
        }
        for (error, count) in &integrity.publish_errors {
            table.add_row([format!("not accepted: {error}"), count.to_string()]);
        }
        table
    }
}

impl Setup {
    /// In one line.
    fn line(&self) -> String {
        let rate = self.rate_per_second.map_or_else(
            || "as fast as answered".to_owned(),
            |rate| format!("{} events/s offered", grouped(rate)),
        );
        let fsync = self
            .fsync_ms
            .map_or_else(String::new, |fsync_ms| format!(", fsync {fsync_ms:.2} ms"));
        let mut line = format!(
            "{} connections, {rate}, {} bytes, {} healthy endpoint(s) of {} at once, {} core(s){fsync}",
            self.connections, self.payload_bytes, self.fan_out, self.concurrency, self.cores
        );
        if let Some(nodes) = self.nodes {
            write!(line, ", {nodes} nodes").expect("writing to a String cannot fail");
        }
        for (count, kind) in [
            (self.slow_endpoints, "slow"),
            (self.dead_endpoints, "dead"),
            (self.failing_endpoints, "failing"),
        ] {
            if count > 0 {
                write!(line, ", {count} {kind}").expect("writing to a String cannot fail");
            }
        }
        line
    }
}

impl Integrity {
    fn failures(&self) -> String {
        if self.accepted == 0 {
            return "no event was accepted".to_owned();
        }
        [
            (self.lost, "lost"),
            (self.bad_signatures, "wrongly signed"),
            (self.wrong_ids, "under a wrong id"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

impl ServerMemory {
    /// The samples as a line of bars, between their least and most.
    fn plot(&self) -> String {
        let bytes = || self.samples.iter().map(|sample| sample.resident_bytes);
        let (min, max) = (bytes().min().unwrap_or(0), bytes().max().unwrap_or(0));
        let columns = self.samples.len().min(PLOT_COLUMNS);
        let bars: String = (0..columns)
            .map(|column| {
                let from = column * self.samples.len() / columns;
                let to = (column + 1) * self.samples.len() / columns;
                let most = self.samples[from..to]
                    .iter()
                    .map(|sample| sample.resident_bytes)
                    .max()
                    .unwrap_or(min);
                let height = (most - min) * 7 / (max - min).max(1);
                ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
                    [usize::try_from(height).expect("at most 7")]
            })
            .collect();
        format!(
            "memory over time {} {bars} {}",
            mebibytes(min),
            mebibytes(max)
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// A rate in whole numbers with thousands set apart; small ones with one decimal.
fn grouped(rate: f64) -> String {
    if rate < 100.0 {
        return format!("{rate:.1}");
    }
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Sample;

    #[test]
    fn rates_are_grouped_by_thousands() {
        assert_eq!(
            [0.04, 99.95, 100.0, 15_000.4, 1_234_567.0].map(grouped),
            ["0.0", "100.0", "100", "15,000", "1,234,567"]
        );
    }

    #[test]
    fn memory_is_plotted_between_its_extremes() {
        let samples: Vec<_> = [10, 20, 30, 80, 80]
            .map(|mebibytes| Sample {
                at_seconds: 0.0,
                resident_bytes: mebibytes << 20,
            })
            .to_vec();
        let memory = ServerMemory {
            idle_bytes: 0,
            peak_bytes: 0,
            end_bytes: 0,
            samples,
        };
        assert_eq!(memory.plot(), "memory over time 10.0 MiB ▁▂▃██ 80.0 MiB");
        let flat = ServerMemory {
            samples: vec![memory.samples[0]; 200],
            ..memory
        };
        assert_eq!(flat.plot().matches('▁').count(), PLOT_COLUMNS);
    }
}
