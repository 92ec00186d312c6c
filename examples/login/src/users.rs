//! Who has an account: in memory, and gone with the process. A site keeps them in its database.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use argon2::{
    Argon2,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::{sync::Semaphore, task};

/// How many characters a password has that is all somebody logs in with (NIST SP 800-63B-4, 3.1.1.2: at least 15).
pub(crate) const PASSWORD: std::ops::RangeInclusive<usize> = 15..=256;

/// The most characters of a name.
pub(crate) const LONGEST_NAME: usize = 40;

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// What sessions know this user by. Never given twice, as a name may be: a session that outlives its
    /// account must not be the next one's of that name.
    pub(crate) id: Box<str>,
    pub(crate) name: Box<str>,
}

/// All users. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Mutex<Accounts>,
    /// The hash that is checked where there is no such user, so that the answer takes as long.
    nobodys: PasswordHash,
    /// A hash takes 19 MiB and all of a core: as many at once as there are cores, and the others wait.
    turns: Semaphore,
}

#[derive(Default)]
struct Accounts {
    by_name: HashMap<String, Account>,
    by_id: HashMap<Box<str>, User>,
}

struct Account {
    user: User,
    hash: PasswordHash,
}

impl Users {
    pub(crate) async fn new() -> Result<Self, password_hash::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let nobodys = Argon2::default().hash_password(&rand::random::<[u8; 32]>())?;
        let inner = Inner { accounts: Mutex::default(), nobodys, turns: Semaphore::new(cores) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The user of this name, if this is their password. Takes as long, and says as much, where there is no such user.
    pub(crate) async fn check(&self, name: &str, password: String) -> Option<User> {
        let (user, hash) = self.inner.with(|accounts| {
            let account = accounts.by_name.get(&folded(name));
            account.map(|account| (account.user.clone(), account.hash.clone())).unzip()
        });
        let hash = hash.unwrap_or_else(|| self.inner.nobodys.clone());
        let is_right =
            self.inner.hashing(move || Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()).await;
        user.filter(|_| is_right)
    }

    /// Adds a user. `None` where the name is taken.
    pub(crate) async fn add(&self, name: &str, password: String) -> Result<Option<User>, password_hash::Error> {
        self.insert(format!("{:032x}", rand::random::<u128>()).into(), name, password).await
    }

    /// Adds the demo user, whose id is always the same: the sessions of a store go on when the program starts again.
    pub(crate) async fn add_demo(&self, name: &str, password: String) -> Result<(), password_hash::Error> {
        self.insert(format!("demo-{name}").into(), name, password).await.map(drop)
    }

    /// The user whom a session belongs to. `None` where the account is gone.
    pub(crate) fn of(&self, id: &str) -> Option<User> {
        self.inner.with(|accounts| accounts.by_id.get(id).cloned())
    }

    async fn insert(&self, id: Box<str>, name: &str, password: String) -> Result<Option<User>, password_hash::Error> {
        let hash = self.inner.hashing(move || Argon2::default().hash_password(password.as_bytes())).await?;
        let user = User { id, name: name.into() };
        Ok(self.inner.with(|accounts| match accounts.by_name.entry(folded(name)) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                free.insert(Account { user: user.clone(), hash });
                accounts.by_id.insert(user.id.clone(), user.clone());
                Some(user)
            }
        }))
    }
}

impl Inner {
    fn with<T>(&self, look: impl FnOnce(&mut Accounts) -> T) -> T {
        look(&mut self.accounts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs what takes long beside the threads that serve requests.
    async fn hashing<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _turn = self.turns.acquire().await.expect("nobody closes the semaphore");
        task::spawn_blocking(work).await.expect("hashing does not panic")
    }
}

/// Ada is ada.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}
