//! The manager: commits, faults, log-ins and log-outs, and what the application is told of them.

#[path = "../support/mod.rs"]
mod support;

mod commits;
mod domain;
mod ended;
mod events;
mod faults;
mod lost_answers;
mod max_sessions;
mod metrics;
mod ping;
mod reads_also;
mod remember;
mod rotation;
mod runtimes;
mod touches;
