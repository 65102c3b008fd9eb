//! The CRM beside the network: what it would export, load after load, over the span of the streams.
//!
//! The loads together bring every version of every listed customer, most in the load of their time. As in real
//! exports, some versions come a load too late, after a newer one, and some rows come again unchanged.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;

use super::Settings;
use super::random::{Concern, Random};
use super::subscribers::{Change, Life, Subscribers};
use super::towers::TOWERS;
use crate::error::{Error, Result};

/// One row of the export: a customer as of `updated_at`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Customer {
    pub customer_id: String,
    pub account_number: String,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub email: String,
    pub phone_number: String,
    pub billing_address_street: String,
    pub billing_address_city: &'static str,
    pub billing_address_state: &'static str,
    pub billing_address_zip: String,
    pub plan_code: &'static str,
    pub plan_monthly_fee_usd: u32,
    pub contract_start_date: NaiveDate,
    pub contract_end_date: Option<NaiveDate>,
    pub is_active: bool,
    pub number_of_lines: u32,
    pub device_type: &'static str,
    pub device_imei: String,
    pub acquisition_channel: &'static str,
    pub lifetime_value_usd: f64,
    pub churn_risk: &'static str,
    pub nps_score: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The header of a CSV file, which is there even when no row follows.
const COLUMNS: [&str; 24] = [
    "customer_id",
    "account_number",
    "first_name",
    "last_name",
    "email",
    "phone_number",
    "billing_address_street",
    "billing_address_city",
    "billing_address_state",
    "billing_address_zip",
    "plan_code",
    "plan_monthly_fee_usd",
    "contract_start_date",
    "contract_end_date",
    "is_active",
    "number_of_lines",
    "device_type",
    "device_imei",
    "acquisition_channel",
    "lifetime_value_usd",
    "churn_risk",
    "nps_score",
    "created_at",
    "updated_at",
];

static FIRST_NAMES: [&str; 24] = [
    "James", "Maria", "Wei", "Aisha", "Carlos", "Emma", "Noah", "Olivia", "Diego", "Priya", "Liam", "Sofia", "Ethan",
    "Grace", "Omar", "Hannah", "Lucas", "Mei", "Daniel", "Fatima", "Jack", "Elena", "Samuel", "Naomi",
];
static LAST_NAMES: [&str; 24] = [
    "Smith", "Garcia", "Chen", "Johnson", "Patel", "Williams", "Nguyen", "Brown", "Martinez", "Kim", "Davis", "Lopez",
    "Miller", "Khan", "Wilson", "Rossi", "Anderson", "Okafor", "Taylor", "Novak", "Moore", "Silva", "Clark", "Haddad",
];
static STREETS: [&str; 12] = [
    "Oak Street",
    "Pine Avenue",
    "Maple Drive",
    "Cedar Lane",
    "Lake Road",
    "Hill Street",
    "Park Avenue",
    "River Road",
    "Sunset Boulevard",
    "Second Street",
    "Elm Court",
    "Harbor Way",
];
static DEVICES: [(u32, &str); 5] =
    [(45, "iPhone"), (38, "Android Phone"), (8, "Tablet"), (5, "Mobile Hotspot"), (4, "Feature Phone")];
static CHANNELS: [(u32, &str); 5] =
    [(35, "Online"), (30, "Retail"), (15, "Referral"), (12, "Partner"), (8, "Telesales")];
static RISKS: [(u32, &str); 3] = [(62, "LOW"), (26, "MEDIUM"), (12, "HIGH")];

const DAY_MS: i64 = 86_400_000;
/// Months of a customer's value, as the CRM counts them.
const MONTH_MS: i64 = 30 * DAY_MS;

fn moment(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// Where a row stands among those of its load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    InTime,
    Overdue,
    Again,
}

pub struct Crm {
    seed: u64,
    subscribers: Subscribers,
    start_ms: i64,
    span_ms: i64,
}

impl Crm {
    pub fn new(settings: &Settings) -> Result<Self> {
        settings.check()?;
        Ok(Crm {
            seed: settings.seed,
            subscribers: Subscribers::new(settings),
            start_ms: settings.start.timestamp_millis(),
            span_ms: settings.span.num_milliseconds(),
        })
    }

    /// The rows of load `number` of `of`, the first being 1: what was updated until that part of the span had passed
    /// and after the load before. A load that does not exist has none.
    pub fn batch(&self, number: u32, of: u32) -> Vec<Customer> {
        if !(1..=of).contains(&number) {
            return Vec::new();
        }
        let mut rows = Vec::new();
        for subscriber in 0..self.subscribers.count() {
            let versions = self.versions(subscriber);
            let mut random = Random::at(self.seed, Concern::Export, u64::from(subscriber));
            let again = random.one_in(20);
            for (index, version) in versions.iter().enumerate() {
                let due = self.load_of(version, of);
                match versions.get(index + 1) {
                    Some(newer) if index > 0 && random.one_in(3) => {
                        if self.load_of(newer, of).saturating_add(1).min(of) == number {
                            rows.push((Turn::Overdue, version.clone()));
                        }
                        continue;
                    }
                    None if again && due.saturating_add(1).min(of) == number => {
                        rows.push((Turn::Again, version.clone()))
                    }
                    _ => {}
                }
                if due == number {
                    rows.push((Turn::InTime, version.clone()));
                }
            }
        }
        rows.sort_by(|(a_turn, a), (b_turn, b)| {
            (a_turn, a.updated_at, &a.customer_id).cmp(&(b_turn, b.updated_at, &b.customer_id))
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The load that a version is in time for.
    fn load_of(&self, version: &Customer, of: u32) -> u32 {
        let passed_ms = (version.updated_at.timestamp_millis() - self.start_ms - 1).max(0);
        let before = i128::from(passed_ms) * i128::from(of) / i128::from(self.span_ms);
        (before as u32).saturating_add(1).min(of)
    }

    /// All versions of a customer, oldest first; none for one who is never listed.
    fn versions(&self, number: u32) -> Vec<Customer> {
        let life = self.subscribers.life(number);
        let Some(listed_ms) = life.listed_ms else { return Vec::new() };
        let mut version = self.first_version(number, &life, listed_ms);
        let mut versions = vec![version.clone()];
        for (turn, (at_ms, change)) in (1..).zip(life.changes()) {
            let mut random = Random::at(self.seed, Concern::Version, u64::from(number) * 8 + turn);
            match change {
                Change::Plan(_) => {
                    let plan = life.plan_at(*at_ms);
                    version.plan_code = plan.code;
                    version.plan_monthly_fee_usd = plan.fee_usd;
                }
                Change::Address => {
                    version.billing_address_street = street(&mut random);
                    version.billing_address_zip = zip(&mut random, self.subscribers.home(number));
                }
                Change::ChurnRisk => {
                    version.churn_risk = match version.churn_risk {
                        "MEDIUM" => random.pick(&["LOW", "HIGH"]),
                        _ => "MEDIUM",
                    };
                }
                Change::Departure => {
                    version.is_active = false;
                    version.contract_end_date = Some(moment(*at_ms).date_naive());
                }
                Change::Nothing => {}
            }
            version.updated_at = moment(*at_ms);
            versions.push(version.clone());
        }
        versions
    }

    fn first_version(&self, number: u32, life: &Life, listed_ms: i64) -> Customer {
        let mut random = Random::at(self.seed, Concern::Profile, u64::from(number));
        let home = self.subscribers.home(number);
        let (first_name, last_name) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
        let plan = life.first_plan();
        let contract_start_date = moment(life.joined_ms).date_naive();
        let months = ((listed_ms - life.joined_ms) / MONTH_MS).unsigned_abs() as u32;
        Customer {
            customer_id: Subscribers::customer_id(number),
            account_number: format!("ACC-{:010}", u64::from(number) * 7 + 1_000_003),
            first_name,
            last_name,
            email: format!("{}.{}{}@example.com", first_name.to_lowercase(), last_name.to_lowercase(), number + 1),
            phone_number: self.subscribers.phone(number),
            billing_address_street: street(&mut random),
            billing_address_city: TOWERS[home].city,
            billing_address_state: TOWERS[home].state,
            billing_address_zip: zip(&mut random, home),
            plan_code: plan.code,
            plan_monthly_fee_usd: plan.fee_usd,
            contract_start_date,
            contract_end_date: random.one_in(3).then(|| contract_start_date + TimeDelta::days(10 * 365)),
            is_active: true,
            number_of_lines: random.weighted(&[(70, 1), (18, 2), (8, 4), (4, 6)]),
            device_type: random.weighted(&DEVICES),
            device_imei: format!("35{:06}{:07}", random.below(1_000_000), random.below(10_000_000)),
            acquisition_channel: random.weighted(&CHANNELS),
            lifetime_value_usd: f64::from(plan.fee_usd * 95 * months) / 100.0,
            churn_risk: random.weighted(&RISKS),
            nps_score: if random.one_in(10) { random.below(201) as i32 - 100 } else { random.below(11) as i32 },
            // Listed at once, or long after joining; a version from before the start is not the first there was.
            created_at: moment(if listed_ms > self.start_ms { listed_ms } else { life.joined_ms }),
            updated_at: moment(listed_ms),
        }
    }

    /// Writes rows as CSV with a header, also when there are none.
    pub fn write_csv(rows: &[Customer], path: &Path) -> Result<()> {
        let mut writer =
            csv::WriterBuilder::new().has_headers(false).from_path(path).map_err(|e| not_written(path, e))?;
        writer.write_record(COLUMNS).map_err(|e| not_written(path, e))?;
        for row in rows {
            writer.serialize(row).map_err(|e| not_written(path, e))?;
        }
        writer.flush().map_err(|e| not_written(path, e))
    }

    /// Writes rows as JSON, one object a line.
    pub fn write_json_lines(rows: &[Customer], path: &Path) -> Result<()> {
        let mut writer = BufWriter::new(File::create(path).map_err(|e| not_written(path, e))?);
        for row in rows {
            serde_json::to_writer(&mut writer, row).map_err(|e| not_written(path, e))?;
            writer.write_all(b"\n").map_err(|e| not_written(path, e))?;
        }
        writer.flush().map_err(|e| not_written(path, e))
    }
}

fn street(random: &mut Random) -> String {
    format!("{} {}", random.between(10, 9_999), random.pick(&STREETS))
}

fn zip(random: &mut Random, home: usize) -> String {
    format!("{}{:02}", TOWERS[home].zip_prefix, random.between(1, 99))
}

fn not_written(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::outside(format!("cannot write the customers to {}", path.display()))
        .because(cause)
        .hint("check that the folder exists, that it may be written to and that the disk is not full")
}

#[cfg(test)]
mod tests;
