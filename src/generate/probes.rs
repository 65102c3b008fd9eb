//! `network_probe_events`: readings of the towers, in turn and at an even pace.
//!
//! Load is a function of the tower and the time: the hour's traffic, a slow drift, now and then a spike. Every other
//! measure worsens with it.

use super::clock::busy;
use super::json::Json;
use super::random::{Concern, Random};
use super::records::{Moment, Record};
use super::towers::TOWERS;

/// Drift goes in a straight line from one of these to the next.
const KNOT_MS: i64 = 30 * 60_000;
/// In each of these a tower may have one spike.
const WATCH_MS: i64 = 4 * 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// Full load, in the hundredths of a percent that all loads here are in.
const FULL: i64 = 10_000;
const ALERT_ABOVE: i64 = 8_500;

fn drift(seed: u64, tower: usize, knot: i64) -> i64 {
    let number = knot.unsigned_abs() * TOWERS.len() as u64 + tower as u64;
    i64::from(Random::at(seed, Concern::Drift, number).below(2_000)) - 1_000
}

fn spike(seed: u64, tower: usize, ms: i64) -> i64 {
    let number = (ms / WATCH_MS).unsigned_abs() * TOWERS.len() as u64 + tower as u64;
    let mut random = Random::at(seed, Concern::Spike, number);
    if !random.one_in(8) {
        return 0;
    }
    let height = i64::from(random.between(2_000, 4_000));
    let from_ms = i64::from(random.below(180)) * MINUTE_MS;
    let to_ms = from_ms + i64::from(random.between(10, 60)) * MINUTE_MS;
    if (from_ms..to_ms).contains(&(ms % WATCH_MS)) { height } else { 0 }
}

fn load(seed: u64, tower: usize, ms: i64) -> i64 {
    let usual = 2_000 + (tower as i64 * 7 % 15) * 150;
    let (knot, into) = (ms / KNOT_MS, ms % KNOT_MS);
    let drift = (drift(seed, tower, knot) * (KNOT_MS - into) + drift(seed, tower, knot + 1) * into) / KNOT_MS;
    let load = usual + i64::from(busy(ms)) * 38 / 100 + drift + spike(seed, tower, ms);
    load.clamp(0, FULL)
}

pub fn write(random: &mut Random, seed: u64, number: u64, moment: &Moment) -> Record {
    // Percents, decibels, megabits, milliseconds and degrees are in hundredths, watts in tenths.
    let index = (number % TOWERS.len() as u64) as usize;
    let tower = &TOWERS[index];
    let at_ms = moment.happened_ms;
    let load = load(seed, index, at_ms);
    // The part of the load that hurts, squared: 0 up to a load of 60, 10,000 under full load.
    let strain = (load - 6_000).max(0).pow(2) / 1_600;
    let (throughput, latency) = match tower.radio_technology {
        "5G_MMWAVE" => (90_000, 900),
        "5G_NR" => (45_000, 1_800),
        _ => (12_000, 3_600),
    };
    let (still_watts, full_watts) = if tower.tower_type == "macro" { (400, 1_200) } else { (50, 200) };
    let capacity = i64::from(tower.capacity_erlangs);
    let mut noise = |bound: u32| i64::from(random.below(bound));

    let active = (capacity * load / FULL + noise(10)).min(capacity).unsigned_abs();
    let signal = 7_000 + load / 20 + noise(200);
    let sinr = 2_200 - load * 12 / 100 + noise(100);
    let setup_success = 9_980 - strain * 800 / 10_000 - noise(30);
    let drop_rate = 20 + strain * 260 / 10_000 + noise(25);
    let handoff_success = 9_900 - strain * 500 / 10_000 - noise(60);
    let throughput = throughput - throughput * load / 12_500 + noise(200);
    let loss = 5 + strain * 200 / 10_000 + noise(10);
    let latency = latency + strain * 4_000 / 10_000 + noise(300);
    let watts = still_watts + (full_watts - still_watts) * load / FULL;
    let fan_stopped = noise(150) == 0;
    let temperature = 2_400 + load * 35 / 100 + noise(400) + if fan_stopped { 2_500 } else { 0 };

    let mut json = Json::new(moment.zone);
    json.uuid("probe_id", random.bytes());
    json.text("tower_id", tower.tower_id);
    json.text("region", tower.region);
    json.time("measurement_timestamp", at_ms);
    json.fixed("load_pct", load, 2);
    json.whole("active_connections", active);
    json.whole("capacity_erlangs", u64::from(tower.capacity_erlangs));
    json.fixed("avg_signal_strength_dbm", -signal, 2);
    json.fixed("avg_sinr_db", sinr, 2);
    json.fixed("call_setup_success_rate_pct", setup_success, 2);
    json.fixed("call_drop_rate_pct", drop_rate, 2);
    json.fixed("handoff_success_rate_pct", handoff_success, 2);
    json.fixed("avg_throughput_mbps", throughput, 2);
    json.fixed("packet_loss_pct", loss, 2);
    json.fixed("avg_latency_ms", latency, 2);
    json.fixed("power_output_watts", watts, 1);
    json.fixed("temperature_celsius", temperature, 2);
    json.text("software_version", if index.is_multiple_of(3) { "7.2.0" } else { "7.1.4" });
    json.flag("alert_threshold_breached", load > ALERT_ABOVE);
    json.time("ingested_at", moment.ingested_ms);
    Record { key: tower.tower_id.to_owned(), value: json.finish() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_740_960_000_000;

    #[test]
    fn load_drifts_slowly_and_spikes_now_and_then() {
        let minutes = 14 * 24 * 60;
        let mut jumps = 0;
        for tower in 0..TOWERS.len() {
            let loads: Vec<i64> = (0..minutes).map(|minute| load(42, tower, START + minute * MINUTE_MS)).collect();
            assert!(loads.iter().all(|load| (0..=FULL).contains(load)));
            let steps = loads.windows(2).map(|pair| (pair[1] - pair[0]).abs());
            let leaps: Vec<i64> = steps.filter(|step| *step > 200).collect();
            assert!(leaps.iter().all(|leap| *leap <= 4_200), "{leaps:?}");
            jumps += leaps.len();
        }
        // A rise and a fall for each spike: one spike in 32 hours for each tower.
        assert!((150..500).contains(&jumps), "{jumps}");
    }
}
