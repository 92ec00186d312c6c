//! Asking PostgreSQL, within a time limit, and once more where that is safe.

use std::{
    fmt,
    num::NonZeroUsize,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use deadpool::managed::{self, Object};
use futures_util::future::join;
use tokio::{runtime::Handle, sync::OnceCell};
use tokio_postgres::{Error, Row, SimpleQueryMessage, error::SqlState, types::ToSql};

use super::{
    address::Address,
    direct,
    failure::{Failure, Kind, in_full, is_forgotten},
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
    Theirs(deadpool_postgres::Pool, Arc<OnceCell<Prepares>>),
    Own(managed::Pool<Servers>),
}

/// A connection of the pool, for one step.
pub(super) enum Client {
    Theirs(deadpool_postgres::Client, Arc<OnceCell<Prepares>>),
    Own(Object<Servers>),
}

/// Whether statements are prepared on the connections of a pool: where they lead to the server itself, and nobody removes what is prepared there.
pub(super) struct Prepares(AtomicBool);

/// Whether the statement before was no part of a longer transaction: this one has begun its own, at the moment it came.
pub(super) const IS_ALONE: &str =
    "SELECT pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.=) pg_catalog.statement_timestamp()";

/// What was answered to [`IS_ALONE`].
pub(super) fn is_alone(messages: &[SimpleQueryMessage]) -> bool {
    messages.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    })
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

/// Something to be done on one connection, and perhaps once more on another.
pub(super) trait Work: Sync {
    type Answer: Send;

    /// What it is called where it fails.
    fn what(&self) -> &'static str;

    /// It only reads, or done twice it is as done once.
    fn is_repeatable(&self) -> bool;

    fn on(&self, client: &Client) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// One statement, with its values.
struct Question<'a> {
    asked: &'a Asked,
    values: &'a [Value<'a>],
}

impl Work for Question<'_> {
    type Answer = Vec<Row>;

    fn what(&self) -> &'static str {
        self.asked.what
    }

    fn is_repeatable(&self) -> bool {
        self.asked.is_repeatable
    }

    async fn on(&self, client: &Client) -> Result<Vec<Row>, Failure> {
        client.ask(self.asked, self.values).await
    }
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

    pub(super) async fn ask(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        self.run(&Question { asked, values }).await
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn run<W: Work>(&self, work: &W) -> Result<W::Answer, StoreError> {
        let (mut held, what) = (None, work.what());
        match tokio::time::timeout(self.limit, self.attempts(work, &mut held)).await {
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

    async fn attempts<W: Work>(&self, work: &W, held: &mut Option<Client>) -> Result<W::Answer, Failure> {
        let (mut collisions, mut is_second) = (0, false);
        loop {
            // What it had is back in the pool before the next is taken.
            *held = None;
            let client = held.insert(self.pool.client().await?);
            let answer = match self.schema.stands(client).await {
                Ok(()) => work.on(client).await.map_err(|failure| match failure {
                    Failure::Client(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                        self.schema.lacks_rights(&in_full(&error))
                    }
                    other => other,
                }),
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(answer) => return Ok(answer),
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
                Kind::Lost if work.is_repeatable() && !is_second => {
                    is_second = true;
                    self.leave(held);
                }
                Kind::Unusable | Kind::Lost => {
                    self.leave(held);
                    return Err(failure);
                }
                Kind::Unfinished => {
                    if let Some(client) = held.take() {
                        client.close();
                    }
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
            Self::Theirs(pool, prepares) => {
                let client = pool.get().await.map_err(|error| match error {
                    managed::PoolError::Backend(error) => Failure::Client(error),
                    other => Failure::Unreached(StoreError::new(other.to_string())),
                })?;
                let client = Client::Theirs(client, Arc::clone(prepares));
                let is_known = prepares.get_or_try_init(|| async {
                    direct::is_direct(&client).await.map(|is_direct| Prepares(AtomicBool::new(is_direct)))
                });
                match is_known.await {
                    Ok(_) => Ok(client),
                    Err(error) => {
                        client.close();
                        Err(Failure::Client(error))
                    }
                }
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
    async fn ask(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        self.alone(async { Ok(self.answer(asked, values).await?) }).await
    }

    /// The answer, unless the application has a transaction open on the connection.
    pub(super) async fn alone<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Self::Theirs(..) = self else { return answer.await };
        // Both go out together, and what is written in an open transaction is undone where its connection is closed.
        let (messages, answer) = join(self.simple_query(IS_ALONE), answer).await;
        if is_alone(&messages?) { answer } else { Err(Failure::Unfinished) }
    }

    async fn answer(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        match self.answer_prepared(asked, values).await {
            Ok(Some(rows)) => return Ok(rows),
            Ok(None) => {}
            // It has the schema of before, or was removed: DISCARD ALL.
            Err(error) if is_forgotten(&error) => self.forget(asked, values, &error),
            Err(error) => return Err(error),
        }
        self.query_typed(&asked.sql, values).await
    }

    /// `None`: it is not to be prepared.
    async fn answer_prepared(&self, asked: &Asked, values: &[Value<'_>]) -> Result<Option<Vec<Row>>, Error> {
        let prepared = match self {
            _ if !asked.is_frequent => None,
            Self::Theirs(client, prepares) if prepares.get().is_some_and(Prepares::get) => {
                Some(client.prepare_typed_cached(&asked.sql, &types(values)).await?)
            }
            Self::Theirs(..) => None,
            Self::Own(link) => link.prepared(asked, values).await?,
        };
        let Some(statement) = prepared else { return Ok(None) };
        let hidden: Vec<_> = values.iter().map(|(value, _)| Hidden(*value)).collect();
        let values: Vec<_> = hidden.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.query(&statement, &values).await.map(Some)
    }

    /// Where the application's pool has removed it, it would do so each time: nothing is prepared there any more.
    fn forget(&self, asked: &Asked, values: &[Value<'_>], error: &Error) {
        match self {
            Self::Theirs(client, prepares) => {
                client.statement_cache.remove(&asked.sql, &types(values));
                if let Some(prepares) =
                    prepares.get().filter(|_| error.code() != Some(&SqlState::FEATURE_NOT_SUPPORTED))
                {
                    prepares.0.store(false, Relaxed);
                }
            }
            Self::Own(link) => link.forget(asked),
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

impl Prepares {
    fn get(&self) -> bool {
        self.0.load(Relaxed)
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
