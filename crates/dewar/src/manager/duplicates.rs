//! Several cookies of one name: which of them counts. A neighbour on the domain may have set one, and so may this application, before the
//! domain of its cookie changed.

use super::{Closed, Found, Inner};
use crate::{
    cookie::{Attributes, Candidates, Duplicates, RequestCookies},
    data::Contents,
    dialect::Refusal,
    error::Error,
    lifetime::Timestamp,
    state::Origin,
};

/// Where the session's cookie was before its domain changed.
#[derive(PartialEq)]
pub(super) struct FormerDomain {
    pub(super) cookie: Attributes,
    pub(super) until: Timestamp,
}

impl Inner {
    /// Whether a request may have a cookie of the former domain.
    pub(super) fn is_moving(&self, now: Timestamp) -> bool {
        self.former_domain.as_ref().is_some_and(|former| now < former.until)
    }

    /// Opens the one cookie of several that is authentic: the others do no harm. Of several that are, the newest counts while the cookie
    /// moves from one domain to another and all of them are one visitor's; otherwise nobody can say who this is, and the dialect decides.
    pub(super) async fn open_of_several(&self, request: RequestCookies<'_>, now: Timestamp) -> Result<Found, Error> {
        let found = Candidates::find(request, &self.cookie.name);
        let mut authentic = Vec::new();
        let mut refused = Closed::Refused(Refusal::Malformed);
        for (at, candidate) in found.as_slice().iter().enumerate() {
            if found.as_slice()[..at].contains(candidate) {
                continue;
            }
            let opened = match self.read_one(candidate, request, now) {
                Ok(token) => self.open(token, now).await?,
                Err(refusal) => Err(refusal.into()),
            };
            match (opened, &refused) {
                (Ok(opened), _) => authentic.push(opened),
                (Err(_), Closed::Dead(_)) => {}
                (Err(closed), _) => refused = closed,
            }
        }
        let is_moving = self.is_moving(now);
        let are_one_visitors = || authentic.windows(2).all(|pair| self.are_one_visitors(&pair[0].0, &pair[1].0));
        let chosen = if authentic.len() < 2 || is_moving && are_one_visitors() {
            authentic.into_iter().max_by_key(|(contents, _)| contents.issued).map(|(contents, mut origin)| {
                if is_moving {
                    origin.reissue();
                }
                (contents, origin)
            })
        } else {
            match self.dialect.profile().duplicates {
                Duplicates::First => authentic.into_iter().next(),
                Duplicates::Last => authentic.pop(),
                Duplicates::Refused => return Ok(Err(Refusal::Ambiguous.into())),
            }
        };
        Ok(chosen.ok_or(refused))
    }

    /// Whether both are one user's, or nobody's and of one visit. What a neighbour can plant is a session of their own.
    fn are_one_visitors(&self, one: &Contents, other: &Contents) -> bool {
        let format = &self.rules.format;
        match (format.principal(one), format.principal(other)) {
            (Some(one), Some(other)) => one == other,
            (None, None) => format.says_when_it_began() && one.created == other.created,
            _ => false,
        }
    }
}

impl Origin {
    /// The browser is to get the cookie again.
    fn reissue(&mut self) {
        match self {
            Self::Cookie { reissue } => *reissue = true,
            Self::Stored(at) if !at.empty => at.reissue = true,
            _ => {}
        }
    }
}
