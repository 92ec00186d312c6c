//! A site of one manager, and visitors whose requests can be held open between load and commit.

use dewar::{Error, Session, SessionManager, testing::Visitor};
use http::{HeaderMap, HeaderValue, header};

/// A request that has opened its session and not yet answered.
pub struct Request {
    manager: SessionManager,
    pub session: Session,
}

impl Request {
    pub async fn begin(visitor: &Visitor, manager: &SessionManager) -> Self {
        let session = manager.open(&headers(visitor)).await.unwrap();
        Self { manager: manager.clone(), session }
    }

    /// Answers: the response's headers, or why there are none.
    pub async fn end(self) -> Result<HeaderMap, Error> {
        let mut response = HeaderMap::new();
        self.manager.commit(&self.session, &mut response).await?;
        Ok(response)
    }

    /// Answers, and expects that no cookie is set.
    pub async fn end_silently(self) {
        let response = self.end().await.unwrap();
        assert!(!response.contains_key(header::SET_COOKIE), "a cookie was set: {response:?}");
    }
}

pub fn headers(visitor: &Visitor) -> HeaderMap {
    HeaderMap::from_iter(
        [(header::COOKIE, visitor.cookie())].into_iter().filter(|(_, cookie): &(_, HeaderValue)| !cookie.is_empty()),
    )
}

/// One whole request.
pub async fn visit(visitor: &mut Visitor, manager: &SessionManager, act: impl FnOnce(&Session)) {
    let request = Request::begin(visitor, manager).await;
    act(&request.session);
    visitor.receive(&request.end().await.unwrap());
}
