//! The benchmark is `benches/codecs.rs`; beside it, `time_flask.py` times Flask's own.
