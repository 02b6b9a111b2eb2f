//! The standard `process_*` metrics, read from /proc for each scrape.

use procfs::process::LimitValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// This process. Values that the kernel does not provide give no sample.
#[derive(Debug)]
pub(super) struct Process {
    /// In Unix seconds. Read once: the kernel derives it from the wall clock, so setting the clock would look like a
    /// restart.
    start_time: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { start_time: start_time().ok() }
    }
}

fn start_time() -> procfs::ProcResult<f64> {
    let started = procfs::process::Process::myself()?.stat()?.starttime as f64;
    Ok(procfs::boot_time_secs()? as f64 + started / procfs::ticks_per_second() as f64)
}

/// Values that are read together, so that they are consistent.
struct Reading {
    cpu_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
    open_fds: usize,
    max_fds: Option<u64>,
    max_virtual_bytes: Option<u64>,
}

fn read() -> procfs::ProcResult<Reading> {
    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let limits = process.limits()?;
    let ticks = procfs::ticks_per_second() as f64;
    let finite = |limit| match limit {
        LimitValue::Value(value) => Some(value),
        LimitValue::Unlimited => None,
    };
    Ok(Reading {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        virtual_bytes: stat.vsize,
        resident_bytes: stat.rss * procfs::page_size(),
        open_fds: process.fd_count()?,
        max_fds: finite(limits.max_open_files.soft_limit),
        max_virtual_bytes: finite(limits.max_address_space.soft_limit),
    })
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Ok(reading) = read() else { return Ok(()) };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        write(&mut encoder, "process_cpu", "CPU time spent, user and system.", Some(&Unit::Seconds), &cpu)?;
        let mut write = |name, help, unit, value: f64| write(&mut encoder, name, help, unit, &ConstGauge::new(value));
        let seconds = Some(&Unit::Seconds);
        let bytes = Some(&Unit::Bytes);
        if let Some(start_time) = self.start_time {
            write("process_start_time", "Unix time at which the process started.", seconds, start_time)?;
        }
        write("process_virtual_memory", "Virtual memory size.", bytes, reading.virtual_bytes as f64)?;
        write("process_resident_memory", "Resident memory size.", bytes, reading.resident_bytes as f64)?;
        write("process_open_fds", "Open file descriptors.", None, reading.open_fds as f64)?;
        if let Some(max) = reading.max_fds {
            write("process_max_fds", "Maximum number of open file descriptors.", None, max as f64)?;
        }
        if let Some(max) = reading.max_virtual_bytes {
            write("process_virtual_memory_max", "Maximum virtual memory size.", bytes, max as f64)?;
        }
        Ok(())
    }
}

fn write(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
