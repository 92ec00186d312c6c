//! The library where there is no operating system: each promise is an exported function, and `run.mjs` calls one by its name.
//!
//! A promise that is broken panics. The host prints why, and the call ends in a trap.

mod host;
mod queue;
mod sessions;

/// Exports these functions of [`sessions`], by their own names.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        $(
            #[allow(unsafe_code)] // An exported name must be the only one of its kind. These are.
            #[unsafe(no_mangle)]
            extern "C" fn $name() {
                host::show_panics();
                sessions::$name();
            }
        )*
    };
}

promises![
    a_sealed_session_comes_back,
    a_session_under_a_passphrase_comes_back,
    a_tampered_cookie_is_an_empty_session,
    an_expired_cookie_is_an_empty_session,
    a_manager_goes_by_the_clock_that_it_was_given,
    a_platform_without_a_clock_is_refused_by_name,
    a_store_without_a_runtime_is_refused_by_name,
    a_memory_store_keeps_sessions_with_a_runtime_of_one_s_own,
    random_numbers_come_from_the_host,
];

#[cfg(feature = "formats")]
promises![flask_s_and_express_s_cookies_come_back];
