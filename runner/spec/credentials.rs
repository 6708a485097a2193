//! What a request proves itself with, and how it is kept out of everything that is saved or printed.
//!
//! A plan is printed and saved in the journal, and reports are handed around; a secret in it would be too.
//! So secrets are sent, and otherwise stand as [`HIDDEN`]. Start at [`Secret`] and [`Headers`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use super::decode::{Decode, Mistakes};
use super::node::Node;
use crate::{record, tagged};

/// What stands for a secret wherever it would be saved or printed.
pub const HIDDEN: &str = "(hidden)";

tagged! {
    /// How requests say who they are from.
    pub enum Auth ("kind of auth") {
        /// A user and password (RFC 7617).
        Basic(Basic) = "basic",
        /// A token (RFC 6750). Templates are filled in, as `{{ token }}` in a flow.
        Bearer(Secret) = "bearer",
    }
}

record! {
    /// A user and password, sent with every request.
    pub struct Basic ("basic") {
        /// The user; no colon.
        pub user: String,
        /// The password; `${NAME}` takes it from the environment.
        pub password: Secret,
    }
}

/// A text that is sent and never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl Decode for Secret {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        String::decode(node, mistakes).map(Self)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Headers by name as written. Saved and printed without the values of those that carry credentials.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Headers(pub BTreeMap<String, String>);

impl Headers {
    /// True if a header of this name carries what lets somebody in.
    pub fn is_secret(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let parts = ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];
        parts.iter().any(|part| name.contains(part))
    }

    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = |name: &str, value| if Self::is_secret(name) { HIDDEN } else { value };
        self.0.iter().map(move |(name, value)| (name.as_str(), shown(name, value.as_str())))
    }
}

impl std::ops::Deref for Headers {
    type Target = BTreeMap<String, String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Headers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'h> IntoIterator for &'h Headers {
    type Item = (&'h String, &'h String);
    type IntoIter = std::collections::btree_map::Iter<'h, String, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<BTreeMap<String, String>> for Headers {
    fn from(headers: BTreeMap<String, String>) -> Self {
        Self(headers)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl Decode for Headers {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        Decode::decode(node, mistakes).map(Self)
    }
    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Load;

    /// However a load is written down, what lets somebody in is not in it.
    #[test]
    fn secrets_are_neither_saved_nor_printed() {
        let load: Load = crate::spec::fragment(
            "{ rate: 1/s, auth: { basic: { user: me, password: hunter2 } }, headers: { Authorization: hunter2, \
             x-api-key: hunter2, Cookie: a=hunter2, x-plain: seen }, requests: [ { get: 'http://a/', \
             auth: { bearer: hunter2 }, headers: { proxy-authorization: hunter2 } } ] }",
        )
        .expect("it is well-formed");
        let saved = serde_json::to_string(&load).expect("a load is plain data");
        for text in [&saved, &format!("{load:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("seen") && text.contains(HIDDEN), "{text}");
        }
        let read: Load = serde_json::from_str(&saved).expect("it reads back");
        assert_eq!(serde_json::to_string(&read).expect("a load is plain data"), saved);
        assert_eq!(load.headers["Authorization"], "hunter2", "it is still there to be sent");
    }
}
