//! Cookies beside the session's own that go with it: those of sources and of a former domain, and those that end with a visit.

use http::HeaderValue;

use super::Inner;
use crate::{
    cookie::{self, Attributes, Candidates, RequestCookies, Spelling, Until},
    session::Session,
    state::Brought,
};

impl Inner {
    /// Notes which of them a request has.
    pub(super) fn note_what_is_beside(&self, request: RequestCookies<'_>, session: &Session) {
        if self.former_domain.is_none() && self.end_with_the_visit().next().is_none() {
            return;
        }
        let is_here = |name: &str| !Candidates::find(request, name).as_slice().is_empty();
        let may_be_former = self.is_moving(self.clock.now()) && is_here(&self.cookie.name);
        let also_removed = self.end_with_the_visit().enumerate().filter(|(_, (cookie, _))| is_here(&cookie.name));
        let also_removed: Vec<usize> = also_removed.map(|(at, _)| at).collect();
        if may_be_former || !also_removed.is_empty() {
            let mut state = session.lock();
            let brought = state.brought.get_or_insert_default();
            (brought.may_be_former, brought.also_removed) = (may_be_former, also_removed);
        }
    }

    /// The cookies that would bring back a visitor who has logged out: of this dialect, and of those that sessions come from. What a source's framework
    /// logs in again would come along.
    fn end_with_the_visit(&self) -> impl Iterator<Item = (&Attributes, &Spelling)> {
        let dialects = std::iter::once(self).chain(self.sources.iter().map(|source| source.inner()));
        dialects.flat_map(|inner| {
            let profile = inner.dialect.profile();
            profile.also_removed.iter().map(|cookie| (cookie, &profile.spelling))
        })
    }

    /// The `Set-Cookie` values that remove them, where the response sets or removes the session's own cookie, and where the visit has ended.
    pub(super) fn removals_beside(&self, brought: &Brought, sets_own: bool) -> Vec<HeaderValue> {
        let mut removals = if sets_own { self.removals_at_sources(brought) } else { Vec::new() };
        if let Some(former) = self.former_domain.as_ref().filter(|_| sets_own && brought.may_be_former) {
            removals.extend(self.removal_with(&former.cookie).into_iter().flatten());
        }
        if brought.is_over {
            let also_removed =
                self.end_with_the_visit().enumerate().filter(|(at, _)| brought.also_removed.contains(at));
            let gone = also_removed.filter_map(|(_, (cookie, spelling))| {
                cookie::write(cookie, spelling, &cookie.name, "", Until::Now).ok()
            });
            removals.extend(gone);
        }
        removals
    }
}
