# Recipes for developers: `just --list`. Each is a command that also runs by hand.

# The tests that need nothing but Rust.
test:
    cargo test --locked --lib

# Everything, as CI runs it: installs tools, as root.
test-all:
    .ci/run

lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# What is generated from the tables and the dashboards' sources.
generate:
    UPDATE_EXPECTED=1 cargo test --locked --test readme
    UPDATE_EXPECTED=1 cargo test --locked --test alerts the_generated_rules
    target/test-tools/python/bin/python3 dashboards/generate.py
    deploy/kubernetes/generate
    target/test-tools/python/bin/python3 deploy/helm/generate

# One benchmark, such as `just bench poll`.
bench NAME *OPTIONS:
    cargo bench --locked --bench {{NAME}} -- {{OPTIONS}}

# All benchmarks with a goal, one after another, with their verdicts: two hours.
goals:
    benches/goals

# One fuzz target, such as `just fuzz damage 600`: so many seconds.
fuzz TARGET SECONDS="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{TARGET}} -- -max_total_time={{SECONDS}}

demo:
    cargo run --release --locked -- demo
