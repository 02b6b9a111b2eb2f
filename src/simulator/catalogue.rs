//! Realistic chains, feeds, destinations and names for the simulated pipelines.

/// An API key of the account, which its usage contains.
pub(super) const API_KEY: &str = "cqt_canary_api_key";

/// Values in the private fields of pipelines, in `last_error` texts and in the account's usage. None of them may ever
/// appear in the exporter's output.
pub const PRIVATE_STRINGS: &[&str] = &[
    "canary-user@private.example",
    "Canary Person",
    "canary-host.private.example",
    "canary_db_user",
    "canary-password",
    "canary_transform_column",
    "canary_abi_event",
    API_KEY,
];

pub(super) struct Chain {
    /// The first two segments of its topics.
    pub(super) prefix: &'static str,
    pub(super) label: &'static str,
    pub(super) block_seconds: f64,
    /// The newest block when the simulator starts.
    pub(super) height: f64,
    /// Of a typical feed.
    pub(super) records_per_second: f64,
}

const fn chain(
    prefix: &'static str,
    label: &'static str,
    block_seconds: f64,
    height: f64,
    records_per_second: f64,
) -> Chain {
    Chain { prefix, label, block_seconds, height, records_per_second }
}

const CHAINS: &[Chain] = &[
    chain("base.mainnet", "Base", 2.0, 38_500_000.0, 240.0),
    chain("eth.mainnet", "Ethereum", 12.0, 23_860_000.0, 85.0),
    chain("solana.mainnet", "Solana", 0.4, 382_000_000.0, 1_900.0),
    chain("matic.mainnet", "Polygon", 2.0, 79_300_000.0, 130.0),
    chain("bsc.mainnet", "BNB", 0.75, 69_000_000.0, 410.0),
    chain("arbitrum.mainnet", "Arbitrum", 0.25, 402_000_000.0, 170.0),
    chain("optimism.mainnet", "Optimism", 2.0, 144_000_000.0, 60.0),
    chain("hypercore.mainnet", "HyperCore", 0.08, 810_000_000.0, 1_200.0),
];

/// The rest of a topic, and its name in a pipeline's name.
const FEEDS: &[(&str, &str)] = &[
    ("ref.block.swaps", "Swaps"),
    ("ref.block.transfers", "Transfers"),
    ("ref.block.logs", "Logs"),
    ("ref.block.transactions", "Transactions"),
    ("ref.block.traces", "Traces"),
    ("ref.block.receipts", "Receipts"),
    ("ref.block.blocks", "Blocks"),
];

/// A documented destination type (there are six). Only the private configuration tells the object stores apart.
struct Destination {
    kind: &'static str,
    label: &'static str,
    url: &'static str,
    /// Error texts of its connectivity check.
    errors: &'static [&'static str],
}

const DESTINATIONS: &[Destination] = &[
    Destination {
        kind: "postgres",
        label: "Postgres",
        url: "postgres://canary-host.private.example:5432/analytics",
        errors: &[
            "dial tcp 10.0.12.7:5432: connect: connection refused (postgres://canary_db_user:canary-password@canary-host.private.example:5432/analytics?sslmode=require)",
            "FATAL: password authentication failed for user \"canary_db_user\" (SQLSTATE 28P01)",
            "ERROR: column \"canary_transform_column\" of relation \"swaps\" does not exist (SQLSTATE 42703)",
            "failed to connect to `host=canary-host.private.example user=canary_db_user database=analytics`: server error (FATAL: sorry, too many clients already (SQLSTATE 53300))",
        ],
    },
    Destination {
        kind: "clickhouse",
        label: "ClickHouse",
        url: "clickhouse://canary-host.private.example:9440/analytics",
        errors: &[
            "read tcp 10.0.3.4:51432->10.0.12.9:9440: i/o timeout",
            "code: 516, message: canary_db_user: Authentication failed: password is incorrect, or there is no user with such name",
            "code: 60, message: Table analytics.swaps does not exist",
            "clickhouse://canary_db_user:canary-password@canary-host.private.example:9440/analytics: context deadline exceeded",
        ],
    },
    Destination {
        kind: "kafka",
        label: "Kafka",
        url: "canary-host.private.example:9092",
        errors: &[
            "lookup canary-host.private.example on 10.0.0.2:53: no such host",
            "ssl://canary-host.private.example:9093: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "Topic authorization failed: principal User:canary_db_user is not allowed to Write",
        ],
    },
    Destination {
        kind: "object_storage",
        label: "Object Storage",
        url: "s3://canary-host.private.example/pipelines",
        errors: &[
            "AccessDenied: User: arn:aws:iam::123456789012:user/canary_db_user is not authorized to perform: s3:PutObject (status code: 403)",
            "SlowDown: Please reduce your request rate. (status code: 503)",
            "NoSuchBucket: The specified bucket does not exist (status code: 404)",
            "googleapi: Error 403: canary_db_user@project.iam.gserviceaccount.com does not have storage.objects.create access, forbidden",
            "googleapi: Error 404: The specified bucket does not exist., notFound",
        ],
    },
    Destination {
        kind: "sqs",
        label: "SQS",
        url: "https://canary-host.private.example/123456789012/pipelines",
        errors: &[
            "ThrottlingException: Rate exceeded",
            "AWS.SimpleQueueService.NonExistentQueue: The specified queue does not exist for this wsdl version.",
        ],
    },
    Destination {
        kind: "webhook",
        label: "Webhook",
        url: "https://canary-host.private.example/hooks/goldrush",
        errors: &[
            "POST https://canary-host.private.example/hooks/goldrush?token=canary-password: 502 Bad Gateway",
            "x509: certificate has expired or is not yet valid",
            "unexpected end of stream",
        ],
    },
];

/// User-written names that break a careless writer of labels.
const ODD_NAMES: &[(usize, &str)] = &[
    (3, "Swaps \"v3\" → Postgres 🚀"),
    (7, "Zürich wallets\nsecond line"),
    (11, r"C:\pipelines\new {transfers}"),
    (17, "転送 🦀 #1, 'quoted' = 100%"),
];

/// The suffix of a group's name and of its projects' names.
pub(super) fn environment(group: usize) -> String {
    match group {
        0 => "prod".to_owned(),
        1 => "staging".to_owned(),
        2 => "dev".to_owned(),
        other => format!("env-{other}"),
    }
}

pub(super) fn project(group: usize, index: usize) -> String {
    let area = ["analytics", "trading", "wallets"][index / 4 % 3];
    format!("{area}-{}", environment(group))
}

/// The topic, destination type and name of a group's generated pipeline number `index`.
pub(super) fn outline(index: usize) -> (String, &'static str, String) {
    let chain = &CHAINS[index % CHAINS.len()];
    let (feed, what) = FEEDS[(index / CHAINS.len() + index) % FEEDS.len()];
    let destination = &DESTINATIONS[index % DESTINATIONS.len()];
    let odd = ODD_NAMES.iter().find(|(place, _)| *place == index % 20);
    let name = match odd {
        Some((_, name)) => (*name).to_owned(),
        None => format!("From {} {what} to {}", chain.label, destination.label),
    };
    (
        format!("{}.{feed}", chain.prefix),
        destination.kind,
        match index / 20 {
            0 => name,
            round => format!("{name} ({round})"),
        },
    )
}

/// The chain of a topic; an unknown one is treated like the first.
pub(super) fn chain_of(topic: &str) -> &'static Chain {
    CHAINS.iter().find(|chain| topic.starts_with(chain.prefix)).unwrap_or(&CHAINS[0])
}

/// The address of a destination of this type: a private text.
pub(super) fn url(destination_type: &str) -> &'static str {
    destination(destination_type).url
}

/// The error text of a destination of this type; `pick` chooses among several.
pub(super) fn last_error(destination_type: &str, pick: usize) -> &'static str {
    let errors = destination(destination_type).errors;
    // Destination types repeat every DESTINATIONS.len() pipelines: without the division, all of a type would share one
    // text.
    errors[pick / DESTINATIONS.len() % errors.len()]
}

/// An unknown type is treated like the first.
fn destination(kind: &str) -> &'static Destination {
    DESTINATIONS.iter().find(|destination| destination.kind == kind).unwrap_or(&DESTINATIONS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_fleet_is_varied() {
        let outlines: Vec<_> = (0..200).map(outline).collect();
        for chain in CHAINS {
            for (feed, _) in FEEDS {
                let topic = format!("{}.{feed}", chain.prefix);
                assert!(outlines.iter().any(|(t, _, _)| *t == topic), "{topic}");
            }
        }
        let errors: Vec<_> = (0..200).map(|index| last_error(outlines[index].1, index)).collect();
        for text in DESTINATIONS.iter().flat_map(|d| d.errors) {
            assert!(errors.contains(text), "{text}");
        }
    }
}
