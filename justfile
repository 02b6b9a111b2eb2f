# Recipes for developers: `just --list`. Each is a command that also runs by hand.

# The tests that need nothing but Rust.
test *ARGUMENTS:
    cargo test --locked {{ARGUMENTS}}

# All tests, as root: installs the tools that they need.
test-all *ARGUMENTS:
    tests/run {{ARGUMENTS}}

# What a change has to pass: lint, docs and test-all.
ci:
    .ci/run

lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Rewrites what is generated from the tables in the code. It needs the tools that tests/run installs.
generate: && dashboards
    UPDATE_EXPECTED=1 cargo test --locked --lib exposition
    UPDATE_EXPECTED=1 cargo test --locked --test alerts the_generated_rules
    UPDATE_EXPECTED=1 cargo test --locked --test readme the_tables

# Rewrites the dashboards from dashboards/source, and the copies of rules and dashboards in deploy/.
dashboards:
    target/test-tools/python/bin/python3 dashboards/generate.py
    deploy/kubernetes/generate
    target/test-tools/python/bin/python3 deploy/helm/generate

# One benchmark, such as `just bench poll`.
bench NAME *OPTIONS:
    cargo bench --locked --bench {{NAME}} -- {{OPTIONS}}

# All benchmarks with a goal, one after another, with their verdicts: two hours.
goals:
    benches/goals

# One fuzz target for so many seconds, such as `just fuzz damage 600`.
fuzz TARGET SECONDS="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{TARGET}} -- -max_total_time={{SECONDS}}

# Simulated histories of so many hours, checked after each step.
simulate HOURS="1000" *OPTIONS:
    cargo bench --locked --bench simulation -- --hours {{HOURS}} {{OPTIONS}}

demo:
    cargo run --release --locked -- demo

# Makes this version the next release's, such as `just version 0.2.0`: in Cargo.toml and every file that repeats it.
version VERSION:
    deploy/release/version {{VERSION}}

# Builds the release that is committed into target/dist, such as `just release x86_64-unknown-linux-gnu`.
release *TARGETS:
    PATH="$PWD/target/test-tools/deploy/bin:$PWD/target/test-tools/cargo/bin:$PATH" deploy/release/release {{TARGETS}}
