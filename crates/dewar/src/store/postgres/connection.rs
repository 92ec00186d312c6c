//! Asking PostgreSQL, within a time limit, and once more where that is safe.

use std::{fmt, num::NonZeroUsize, ops::Deref, sync::Arc, time::Duration};

use deadpool::managed::{self, Object};
use tokio::{runtime::Handle, sync::OnceCell};
use tokio_postgres::{Row, types::ToSql};

use super::{
    address::Address,
    direct,
    failure::{Failure, Kind},
    rows::Value,
    schema::Schema,
    servers::{Hidden, Servers, types},
};
use crate::store::StoreError;

/// How long the server is asked to give up what nobody waits for any more.
const CANCELLATION_LIMIT: Duration = Duration::from_secs(1);

/// How often a step that collided with another is begun again.
const COLLISIONS: u32 = 8;

#[derive(Clone)]
pub(super) struct Connection {
    pool: Pool,
    pub(super) schema: Arc<Schema>,
    limit: Duration,
}

#[derive(Clone)]
enum Pool {
    /// The application's, with its own settings.
    Theirs(deadpool_postgres::Pool, Arc<OnceCell<bool>>),
    Own(managed::Pool<Servers>),
}

/// A connection of the pool, for one step.
enum Client {
    /// With whether it leads to the server itself.
    Theirs(deadpool_postgres::Client, bool),
    Own(Object<Servers>),
}

/// A statement, and what is known of it.
pub(super) struct Asked {
    pub(super) what: &'static str,
    pub(super) sql: String,
    /// It only reads, or done twice it is as done once.
    pub(super) is_repeatable: bool,
    /// Visitors' requests ask it, and not an operator.
    pub(super) is_frequent: bool,
}

impl Connection {
    pub(super) fn new(pool: deadpool_postgres::Pool, limit: Duration) -> Self {
        Self { pool: Pool::Theirs(pool, Arc::default()), schema: Arc::default(), limit }
    }

    /// Connects at the first request.
    pub(super) fn open(url: &str, pool: NonZeroUsize, limit: Duration) -> Result<Self, StoreError> {
        if Handle::try_current().is_err() {
            return Err(StoreError::new("postgres: a store is opened within a tokio runtime"));
        }
        if !has_timers() {
            return Err(StoreError::new(
                "postgres: this tokio runtime has no timers; call enable_time() or enable_all() on its builder",
            ));
        }
        let address = Address::parse(url)?;
        let servers = Servers::new(address.servers, address.tls);
        let size = address.pool.unwrap_or(pool).get();
        let pool = managed::Pool::builder(servers).max_size(size).build();
        let pool = pool.map_err(|error| StoreError::new("postgres: cannot make a pool").because(error.to_string()))?;
        Ok(Self { pool: Pool::Own(pool), schema: Arc::new(address.schema), limit })
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn with(self, change: impl FnOnce(Schema) -> Result<Schema, StoreError>) -> Result<Self, StoreError> {
        let schema = change(self.schema.settings())?;
        Ok(Self { schema: Arc::new(schema), ..self })
    }

    /// What makes connections of our own. `None`: the application does.
    pub(super) fn servers(&self) -> Option<managed::Pool<Servers>> {
        match &self.pool {
            Pool::Own(pool) => Some(pool.clone()),
            Pool::Theirs(..) => None,
        }
    }

    pub(super) async fn ask_one(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Row, StoreError> {
        self.ask(asked, values).await?.pop().ok_or_else(|| StoreError::new("postgres: there is no answer"))
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn ask(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let (mut held, what) = (None, asked.what);
        match tokio::time::timeout(self.limit, self.attempts(asked, values, &mut held)).await {
            Ok(answer) => answer.map_err(|error| error.while_trying_to(what)),
            Err(_) => {
                let limit = self.limit;
                let Some(client) = held else {
                    let message = format!("postgres: cannot {what}: no connection within {limit:?}");
                    return Err(StoreError::new(message));
                };
                // Whoever had this connection next would wait for the same answer.
                client.give_up();
                Err(StoreError::new(format!("postgres: cannot {what}: no answer within {limit:?}")))
            }
        }
    }

    async fn attempts(
        &self,
        asked: &Asked,
        values: &[Value<'_>],
        held: &mut Option<Client>,
    ) -> Result<Vec<Row>, Failure> {
        let (mut collisions, mut is_second) = (0, false);
        loop {
            // What it had is back in the pool before the next is taken.
            *held = None;
            let client = held.insert(self.pool.client().await?);
            let answer = match self.schema.stands(client).await {
                Ok(()) => client.ask(asked, values).await.map_err(Failure::Client),
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            match failure.kind() {
                // Nothing was done.
                Kind::Collided if collisions < COLLISIONS => {
                    collisions += 1;
                    let pause = Duration::from_millis(rand::random_range(1..=10 << collisions.min(4)));
                    tokio::time::sleep(pause).await;
                }
                Kind::Unprepared if !is_second => {
                    is_second = true;
                    self.schema.is_lost();
                }
                // Nothing was done. Connections of the same age are of no use either.
                Kind::Unusable if !is_second => {
                    is_second = true;
                    self.leave(held);
                }
                // What is known of the others may be old: a lost connection is noticed by who asks next.
                Kind::Lost if asked.is_repeatable && !is_second => {
                    is_second = true;
                    self.leave(held);
                }
                Kind::Unusable | Kind::Lost => {
                    self.leave(held);
                    return Err(failure);
                }
                _ => return Err(failure),
            }
        }
    }

    fn leave(&self, held: &mut Option<Client>) {
        if let Some(client) = held.take() {
            client.close();
        }
        match &self.pool {
            Pool::Own(pool) => drop(pool.retain(|_, _| false)),
            Pool::Theirs(pool, _) => drop(pool.retain(|_, _| false)),
        }
    }
}

impl Pool {
    async fn client(&self) -> Result<Client, Failure> {
        match self {
            Self::Own(pool) => pool.get().await.map(Client::Own).map_err(|error| match error {
                managed::PoolError::Backend(error) => Failure::Unreached(error),
                other => Failure::Unreached(StoreError::new(other.to_string())),
            }),
            Self::Theirs(pool, is_direct) => {
                let client = pool.get().await.map_err(|error| match error {
                    managed::PoolError::Backend(error) => Failure::Client(error),
                    other => Failure::Unreached(StoreError::new(other.to_string())),
                })?;
                let is_direct = is_direct.get_or_try_init(|| direct::is_direct(&client)).await?;
                Ok(Client::Theirs(client, *is_direct))
            }
        }
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        match self {
            Self::Theirs(client, _) => client,
            Self::Own(link) => &link.client,
        }
    }
}

impl Client {
    async fn ask(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let prepared = match self {
            _ if !asked.is_frequent => None,
            Self::Theirs(client, true) => Some(client.prepare_typed_cached(&asked.sql, &types(values)).await?),
            Self::Theirs(_, false) => None,
            Self::Own(link) => link.prepared(asked, values).await?,
        };
        match prepared {
            Some(statement) => {
                let hidden: Vec<_> = values.iter().map(|(value, _)| Hidden(*value)).collect();
                let values: Vec<_> = hidden.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                self.query(&statement, &values).await
            }
            None => self.query_typed(&asked.sql, values).await,
        }
    }

    fn close(self) {
        match self {
            Self::Theirs(client, _) => drop(deadpool_postgres::Client::take(client)),
            Self::Own(link) => drop(Object::take(link)),
        }
    }

    /// Has the server stop what it is doing, so that it holds no locks, and closes the connection.
    fn give_up(self) {
        let Self::Own(link) = self else { return self.close() };
        let link = Object::take(link);
        tokio::spawn(async move {
            let cancelling = link.client.cancel_token();
            let _ = tokio::time::timeout(CANCELLATION_LIMIT, cancelling.cancel_query(link.tls.clone())).await;
        });
    }
}

/// Whether the runtime counts time. Tokio tells by a panic.
fn has_timers() -> bool {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("limit", &self.limit).finish_non_exhaustive()
    }
}
