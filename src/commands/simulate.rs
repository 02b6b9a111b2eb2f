//! `simulate`: a simulated Pipeline API on loopback.

use tokio::signal::unix::{SignalKind, signal};

use super::{Error, Status, listeners};
use crate::cli::Simulate;
use crate::output::print;
use crate::simulator::{self, Scenario, Simulator};

pub(super) async fn run(options: Simulate) -> Result<Status, Error> {
    let address = options.listen_address;
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let listener = listeners::listen(&address.to_string(), "--simulator.listen-address").await?;
    let simulator = Simulator::new(simulator::Options {
        pipelines: options.pipelines,
        scenario: options.scenario,
        max_page_size: options.page_size,
        latency: options.latency,
        service_key: options.service_key.clone(),
        ..simulator::Options::default()
    });
    let address = listener.local_addr().map_err(Error::Simulation)?;
    let introduction = format!(
        "A simulated Pipeline API serves http://{address}{base}\n\
         Poll it:             GOLDRUSH_EXPORTER__API__BASE_URL=http://{address}{base} \\\n                     \
                              GOLDRUSH_SERVICE_KEY={key} goldrush-exporter\n\
         Change the scenario: curl -X PUT http://{address}/simulator/scenario/NAME\n\
         Scenarios:           {names}\n",
        base = simulator::BASE_PATH,
        key = options.service_key,
        names = Scenario::ALL.iter().map(|scenario| scenario.as_str()).collect::<Vec<_>>().join(" "),
    );
    print(introduction).await?;
    // As process 1 of a container, a process that does not handle SIGTERM ignores it.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Simulation)?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    simulator.serve(listener, stop).await.map_err(Error::Simulation)?;
    Ok(Status::Success)
}
