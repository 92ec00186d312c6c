//! A dialect's settings by the names of its setters, as an environment says them: `encryption=cbc,digest=sha1`.

// Ours have nothing to set.
#![cfg_attr(not(any(feature = "json", feature = "phoenix", feature = "php")), allow(dead_code))]

use super::{Dialect, Digest};
use crate::error::Error;

/// One setter, by its name.
pub(super) struct Setter<D> {
    pub(super) name: &'static str,
    /// Sets it to a text. An error: what to write instead.
    pub(super) set: fn(D, &str) -> Result<D, String>,
}

impl<D> Setter<D> {
    pub(super) const fn new(name: &'static str, set: fn(D, &str) -> Result<D, String>) -> Self {
        Self { name, set }
    }
}

/// A dialect with what is said: for [`Known`](super::Known).
///
/// # Errors
///
/// As [`apply`].
pub(super) fn made<D: Dialect>(
    name: &str,
    dialect: D,
    setters: &[Setter<D>],
    options: &str,
) -> Result<Box<dyn Dialect>, Error> {
    Ok(Box::new(apply(name, dialect, setters, options)?))
}

/// Sets what is said: `name=value` with commas between them, where a comma in a value is `%2C`.
///
/// # Errors
///
/// Where a name is not known, said twice or without a value, or a value is none of its setter's.
fn apply<D>(name: &str, dialect: D, setters: &[Setter<D>], options: &str) -> Result<D, Error> {
    let mut said: Vec<&str> = Vec::new();
    let items = options.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.into_iter().try_fold(dialect, |dialect, item| {
        let (option, value) = item.split_once('=').unwrap_or((item, ""));
        let setter = setters.iter().find(|setter| setter.name == option);
        if !item.contains('=') {
            return Err(Error::setting(match setter {
                Some(_) => format!("{option}: {name} wants a value; write {option}=..."),
                None => format!("{option}: there is no value; write name=value, and a comma in a value as %2C"),
            }));
        }
        let Some(setter) = setter else { return Err(unknown(name, option, setters)) };
        if said.contains(&option) {
            return Err(Error::setting(format!("{option} is said twice; say it once")));
        }
        said.push(option);
        let value = value.replace("%2C", ",").replace("%2c", ",");
        (setter.set)(dialect, &value).map_err(|why| Error::setting(format!("{option}={value}: {why}")))
    })
}

fn unknown<D>(name: &str, option: &str, setters: &[Setter<D>]) -> Error {
    let names: Vec<&str> = setters.iter().map(|setter| setter.name).collect();
    Error::setting(if names.is_empty() {
        format!("{option}: {name} has no option; leave it out")
    } else {
        format!("{option}: {name} has no option of this name; it has {}", names.join(", "))
    })
}

/// Yes or no.
#[allow(dead_code)] // Not every dialect has one.
pub(super) fn flag(value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// A hash function by its name.
#[allow(dead_code)] // Not every dialect has one.
pub(super) fn digest(value: &str) -> Result<Digest, String> {
    match &*value.to_ascii_lowercase() {
        "sha1" => Ok(Digest::Sha1),
        "sha256" => Ok(Digest::Sha256),
        "sha384" => Ok(Digest::Sha384),
        "sha512" => Ok(Digest::Sha512),
        _ => Err("write sha1, sha256, sha384 or sha512".into()),
    }
}

/// A whole number, such as of bytes or seconds.
pub(super) fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "write a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTERS: &[Setter<Vec<String>>] = &[
        Setter::new("salt", |mut all, value| {
            all.push(value.to_owned());
            Ok(all)
        }),
        Setter::new("compression", |mut all, value| {
            all.push(flag(value)?.to_string());
            Ok(all)
        }),
    ];

    fn set(options: &str) -> Result<Vec<String>, String> {
        apply("Test", Vec::new(), SETTERS, options).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_said_by_their_names() {
        assert_eq!(set("").unwrap(), Vec::<String>::new());
        assert_eq!(set("salt=a=b%2Cc, compression=false,").unwrap(), ["a=b,c", "false"]);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_there_is() {
        assert!(set("pepper=1").unwrap_err().contains("it has salt, compression"), "{:?}", set("pepper=1"));
        for (options, said) in [
            ("salt", "write salt=..."),
            ("salt=1,2", "%2C"),
            ("salt=a,salt=b", "twice"),
            ("compression=maybe", "write true or false"),
        ] {
            assert!(set(options).unwrap_err().contains(said), "{options}: {:?}", set(options));
        }
    }
}
