//! The applications that share sessions, one file each. A later framework is one more file.

pub(crate) mod browser;
pub(crate) mod dashboard;
pub(crate) mod django;
pub(crate) mod erlang;
pub(crate) mod express;
pub(crate) mod flask;
pub(crate) mod iron;
pub(crate) mod laravel;
pub(crate) mod oracle;
pub(crate) mod ours;
pub(crate) mod php;
pub(crate) mod prometheus;
pub(crate) mod questions;
pub(crate) mod rails;
pub(crate) mod redis;
pub(crate) mod servers;
pub(crate) mod symfony;
pub(crate) mod watched;
