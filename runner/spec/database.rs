//! Where databases are, as their own clients write it: `postgres://USER@HOST:PORT/DATABASE`, `redis://HOST:PORT/NUMBER`.
//!
//! Without a password, because these URLs are printed and saved. Start at [`DatabaseUrl`].

use percent_encoding::percent_decode_str;

use super::url::Url;

/// Whose URLs they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// PostgreSQL, and what speaks its protocol.
    Postgres,
    /// Redis, and what speaks its protocol.
    Redis,
}

impl Family {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        }
    }

    /// What to write.
    const fn form(self) -> &'static str {
        match self {
            Self::Postgres => "write `postgres://USER@HOST:PORT/DATABASE`",
            Self::Redis => {
                "write `redis://HOST:PORT`, or `rediss://` for TLS; `/NUMBER` behind it for another database than 0"
            }
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5_432,
            Self::Redis => 6_379,
        }
    }

    /// Whether this scheme means TLS; nothing where it is another's.
    fn tls(self, scheme: &str) -> Option<bool> {
        match (self, scheme) {
            (Self::Postgres, "postgres" | "postgresql") | (Self::Redis, "redis") => Some(false),
            (Self::Redis, "rediss") => Some(true),
            _ => None,
        }
    }
}

/// A database: where it is and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// Host, port and, for Redis, TLS. Without a port where none is written and the host is a service of the lab, whose
    /// only port is meant then.
    pub place: Url,
    /// The user, if one is written.
    pub user: Option<String>,
    /// What comes behind the host, if anything does: a name, or Redis's number.
    pub database: Option<String>,
}

impl DatabaseUrl {
    /// Reads one. The error says what to write, and quotes nothing, since a password may be in it.
    pub fn parse(text: &str, family: Family) -> Result<Self, String> {
        let form = || family.form().to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let tls = family.tls(scheme).ok_or_else(form)?;
        if rest.contains(['?', '#']) {
            return Err(
                "leave out what begins with `?` or `#`: what can be set has fields of its own, as `tls`"
                    .into(),
            );
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err("leave the password out, since URLs are printed and saved: write `password: ${NAME}` beside it, \
                        which takes it from the environment"
                .into());
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| form())?;
            Ok::<_, String>(Some(text.into_owned()).filter(|text| !text.is_empty()))
        };
        let (user, database) = (decoded(user.unwrap_or_default())?, decoded(database)?);
        match family {
            Family::Postgres if user.is_none() => return Err(form()),
            Family::Redis if database.as_ref().is_some_and(|number| number.parse::<u16>().is_err()) => {
                return Err(form());
            }
            _ => {}
        }
        let mut place: Url = format!("http://{host}").parse().map_err(|_| form())?;
        place.tls = tls;
        if place.port.is_none() && place.lab_service().is_none() {
            place.port = Some(family.default_port());
        }
        Ok(Self { place, user, database })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_the_databases_own_clients_take_them() {
        use Family::{Postgres, Redis};
        for (family, text, place, user, database) in [
            (Postgres, "postgres://me@db:6432/shop", "http://db:6432/", Some("me"), Some("shop")),
            (Postgres, "postgresql://me%40here@[::1]", "http://[::1]:5432/", Some("me@here"), None),
            (Postgres, "postgres://me@db.lab/shop", "http://db.lab/", Some("me"), Some("shop")),
            (Redis, "redis://127.0.0.1", "http://127.0.0.1:6379/", None, None),
            (Redis, "rediss://me@cache.lab:6379/3", "https://cache.lab:6379/", Some("me"), Some("3")),
        ] {
            let url = DatabaseUrl::parse(text, family).expect(text);
            assert_eq!(url.place.to_string(), place, "{text}");
            assert_eq!((url.user.as_deref(), url.database.as_deref()), (user, database), "{text}");
        }
        for (family, text) in [
            (Postgres, "db:5432"),
            (Postgres, "mysql://me@db"),
            (Postgres, "postgres://db/shop"),
            (Postgres, "postgres://me:hunter2@db/shop"),
            (Postgres, "postgres://me@a,b/shop"),
            (Postgres, "postgres://me@db:0/shop"),
            (Postgres, "postgres://me@db/shop?sslmode=require"),
            (Redis, "redis://:hunter2@cache"),
            (Redis, "redis://cache/first"),
            (Redis, "postgres://me@cache"),
        ] {
            let hint = DatabaseUrl::parse(text, family).expect_err(text);
            assert!(!hint.contains("hunter2"), "{hint}");
        }
    }
}
