//! [`Session`] as an argument of axum's handlers, and [`Error`] as a response.

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::{tower::error_response, visit::Handle};
#[cfg(feature = "templates")]
use crate::template::Templates;
use crate::{error::Error, manager::SessionManager, session::Session, telemetry};

/// A store that is down answers 503 with `Retry-After`. Take `Option<Session>` or
/// `Result<Session, dewar::Error>` in a route that can do without.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Error>> + Send {
        Self::from_parts(parts)
    }
}

/// `None` where the store is down, with an error in the log. A missing layer is an error all the same.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Error> {
        match Self::from_parts(parts).await {
            Ok(session) => Ok(Some(session)),
            Err(error) if error.is_store() => {
                telemetry::unavailable(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The manager of the layer that the request went through, for lists of devices and log-outs everywhere.
impl<S: Sync> FromRequestParts<S> for SessionManager {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        Ok(Handle::of(&parts.extensions)?.visit().manager().clone())
    }
}

#[cfg(feature = "templates")]
impl<S: Sync> FromRequestParts<S> for Templates {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let engine = Handle::of(&parts.extensions)?.templates()?;
        Ok(Self::new(engine, Session::from_parts(parts).await?))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        telemetry::answered(&self);
        error_response(&self, |body| Body::from(body.into_owned()))
    }
}
