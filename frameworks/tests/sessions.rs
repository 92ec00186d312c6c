//! The same promises in every framework, over HTTP, with the sessions in the cookie and on a store.

mod promises;
mod servers;
mod site;

use site::{Place, Site};

fn check(serve: servers::Serve, promise: fn(&Site)) {
    promise(&Site::start(serve, Place::Cookie));
    promise(&Site::start(serve, Place::Store));
}

macro_rules! keeps {
    ($framework:ident: $($promise:ident,)*) => {
        mod $framework {
            use crate::{check, promises, servers::$framework::serve, site::Site};

            $(
                #[test]
                fn $promise() {
                    check(serve, promises::$promise);
                }
            )*

            #[test]
            fn without_the_layer_a_page_is_a_500_that_tells_its_developer_alone() {
                promises::without_the_layer_a_page_is_a_500_that_tells_its_developer_alone(&Site::start_without_a_layer(serve));
            }
        }
    };
}

macro_rules! promises_are_kept_in {
    ($($framework:ident),*) => {
        $(keeps! {
            $framework:
            a_write_sets_one_cookie_and_the_next_request_reads_it,
            start_over_removes_the_cookie,
            after_start_over_the_old_cookie_opens_nothing_on_a_store,
            a_page_that_does_not_name_the_session_has_no_cookie_and_no_vary,
            a_page_that_only_reads_sets_no_cookie,
            a_forged_cookie_is_a_stranger,
            visits_are_counted,
            racing_requests_of_one_visitor_are_counted_on_a_store,
            two_visitors_at_once_never_see_each_others_name,
            a_handler_that_panics_stores_nothing,
            a_request_that_is_dropped_stores_nothing,
            a_refusal_keeps_what_its_handler_wrote,
            a_name_that_does_not_fit_the_cookie_is_a_500_and_the_old_one_stays,
            a_page_that_is_not_there_is_a_404,
        })*
    };
}

promises_are_kept_in!(axum, actix, poem, salvo);
