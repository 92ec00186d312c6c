//! What attacks from outside found, each as the right answer.

#[path = "../support/mod.rs"]
mod support;

mod ended;
mod found;
mod frameworks;
mod fuzz_findings;
mod hostile;
mod max_sessions;
mod moving;
mod seams;
mod strangers;
