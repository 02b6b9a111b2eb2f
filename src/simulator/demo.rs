//! The fleet of the scenario `demo`: small, varied, with several things wrong at once.

use std::time::Duration;

use super::catalogue;
use super::living::Condition;
use super::pipeline::SimulatedPipeline;

/// The ServiceKey of the demo's production group.
pub const DEMO_KEY_PROD: &str = "sk_demo_prod_0000000000000001";
/// The ServiceKey of the demo's staging group, which is over its limit.
pub const DEMO_KEY_STAGING: &str = "sk_demo_staging_0000000000000002";
/// A ServiceKey of the demo's production group that is revoked.
pub const DEMO_KEY_REVOKED: &str = "sk_demo_revoked_0000000000000003";

/// The indexes of the demo's groups.
pub(super) const PROD: usize = 0;
pub(super) const STAGING: usize = 1;

struct Row {
    group: usize,
    name: &'static str,
    project: &'static str,
    topic: &'static str,
    destination_type: &'static str,
    trouble: Trouble,
}

/// What is wrong with a pipeline of the demo.
enum Trouble {
    None,
    ConnectionRefused,
    PausedByUser,
    FinishedBounded,
    /// Two thirds of a backfill are done; the rest takes two hours.
    Backfilling,
    Other(Condition),
}

const fn row(
    group: usize,
    name: &'static str,
    project: &'static str,
    topic: &'static str,
    destination_type: &'static str,
    trouble: Trouble,
) -> Row {
    Row { group, name, project, topic, destination_type, trouble }
}

#[rustfmt::skip] // a table
const FLEET: &[Row] = &[
    row(PROD, "From Base Swap to Postgres", "analytics-prod", "base.mainnet.ref.block.swaps", "postgres", Trouble::ConnectionRefused),
    row(PROD, "Ethereum transfers to ClickHouse", "analytics-prod", "eth.mainnet.ref.block.transfers", "clickhouse", Trouble::Other(Condition::Failed)),
    row(PROD, "Solana \"hot\" swaps → Kafka 🚀", "trading-prod", "solana.mainnet.ref.block.swaps", "kafka", Trouble::None),
    row(PROD, "Polygon logs to S3", "analytics-prod", "matic.mainnet.ref.block.logs", "object_storage", Trouble::Other(Condition::DroppingRecords)),
    row(PROD, "BNB receipts webhook", "trading-prod", "bsc.mainnet.ref.block.receipts", "webhook", Trouble::PausedByUser),
    row(PROD, "Arbitrum swaps to SQS", "trading-prod", "arbitrum.mainnet.ref.block.swaps", "sqs", Trouble::Other(Condition::Lagging)),
    row(PROD, "HyperCore fills to ClickHouse", "trading-prod", "hypercore.mainnet.ref.block.fills", "clickhouse", Trouble::None),
    row(PROD, "Optimism transfers (moved to another team)", "wallets-prod", "optimism.mainnet.ref.block.transfers", "postgres", Trouble::Other(Condition::Foreign)),
    row(PROD, "Backfill: Base swaps 2024", "analytics-prod", "base.mainnet.ref.block.swaps", "clickhouse", Trouble::Backfilling),
    row(STAGING, "Base logs to GCS", "analytics-staging", "base.mainnet.ref.block.logs", "object_storage", Trouble::Other(Condition::Restarting { period: Duration::from_secs(180), deploying: Duration::from_secs(40) })),
    row(STAGING, "Backfill: Ethereum swaps 2023", "analytics-staging", "eth.mainnet.ref.block.swaps", "postgres", Trouble::FinishedBounded),
    row(STAGING, r"C:\staging\kafka mirror", "wallets-staging", "base.mainnet.ref.block.transfers", "kafka", Trouble::Other(Condition::NullMetrics)),
    row(STAGING, "Zürich wallets\nsecond line", "wallets-staging", "eth.mainnet.ref.block.transactions", "clickhouse", Trouble::None),
];

/// The first and last block of the running backfill.
const BACKFILL: (u64, u64) = (8_640_000, 24_480_000);

fn rows(group: usize) -> impl Iterator<Item = &'static Row> {
    FLEET.iter().filter(move |row| row.group == group)
}

/// The pipelines of one of the demo's groups.
pub(super) fn pipelines(seed: u64, group: usize) -> Vec<SimulatedPipeline> {
    rows(group)
        .enumerate()
        .map(|(index, row)| {
            let mut pipeline = SimulatedPipeline::generated(seed, group, index);
            row.name.clone_into(&mut pipeline.name);
            pipeline.project = row.project.into();
            pipeline.topic = row.topic.into();
            pipeline.destination_type = row.destination_type.into();
            match row.trouble {
                Trouble::PausedByUser => pipeline.intent = "paused".into(),
                Trouble::FinishedBounded => {
                    pipeline.execution_mode = "bounded".into();
                    pipeline.execution_start_from = "16308190".into();
                    pipeline.execution_stop_from = "18908894".into();
                    pipeline.condition = Condition::Finished;
                }
                Trouble::Backfilling => {
                    pipeline.execution_mode = "bounded".into();
                    pipeline.execution_start_from = BACKFILL.0.to_string().into();
                    pipeline.execution_stop_from = BACKFILL.1.to_string().into();
                }
                Trouble::None | Trouble::ConnectionRefused | Trouble::Other(_) => {}
            }
            pipeline
        })
        .collect()
}

/// The condition of a group's pipeline number `index` while the scenario is `demo`. A paused pipeline and a finished
/// one are not troubles to repair: they stay so in every scenario.
pub(super) fn condition(group: usize, index: usize) -> Condition {
    match rows(group).nth(index).map(|row| &row.trouble) {
        Some(Trouble::ConnectionRefused) => Condition::DestinationDown(catalogue::last_error("postgres", 0)),
        Some(Trouble::Other(condition)) => *condition,
        Some(Trouble::Backfilling) => {
            let (start, to) = BACKFILL;
            Condition::Backfilling { from: start + (to - start) / 3 * 2, to, blocks_per_second: 730 }
        }
        _ => Condition::Well,
    }
}
