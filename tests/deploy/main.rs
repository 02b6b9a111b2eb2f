//! Each folder below deploy/, as far as this machine can go: built, checked by its own tools, run, scraped.

#[path = "../common/mod.rs"]
mod common;

mod compose;
mod container;
mod helm;
mod kubernetes;
mod manifests;
mod notify;
mod packages;
mod release;
mod supply_chain;
mod systemd;
mod tools;
mod workflows;
