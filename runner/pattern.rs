//! Patterns for names and paths: globs, or regular expressions behind `re:`.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::by_text;

/// The largest compiled pattern, in bytes; a larger one is a mistake, not a filter.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A pattern that a whole text must match, whatever its case: `*` stands for any characters, `?` for one. Behind
/// `re:` it is a regular expression that must match somewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern {
    text: String,
    regex: Regex,
}

by_text!(
    Pattern,
    "a pattern",
    "A glob such as `api-*` (`*`: any characters, `?`: one), or a regular expression: `re:^api-[0-9]+$`."
);

impl Pattern {
    /// True if it matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let source = match text.strip_prefix("re:") {
            Some(expression) => expression.to_owned(),
            None if text.is_empty() => {
                return Err("write a glob such as `api-*`, or `re:` and a regular expression".into());
            }
            None => {
                let pieces = text.chars().map(|c| match c {
                    '*' => ".*".to_owned(),
                    '?' => ".".to_owned(),
                    c => regex::escape(c.encode_utf8(&mut [0; 4])),
                });
                format!("^(?s:{})$", pieces.collect::<String>())
            }
        };
        RegexBuilder::new(&source)
            .case_insensitive(true)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map(|regex| Self { text: text.to_owned(), regex })
            .map_err(|error| {
                let last = error.to_string().lines().last().unwrap_or_default().to_owned();
                format!("{}; a glob such as `api-*` needs no `re:`", last.trim_start_matches("error: "))
            })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts_and_expressions_parts_of_them() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(text), expected, "{pattern} {text}");
        };
        check("api-*", "API-1", true);
        check("api-*", "my-api-1", false);
        check("*.example.com", "a.b.example.com", true);
        check("*.example.com", "example.com", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("a.c", "abc", false);
        check("/cart/*", "/cart/7?x=1", true);
        check("re:^api-[0-9]+$", "api-12", true);
        check("re:api", "my-api-1", true);
        check("*", "", true);
    }

    #[test]
    fn wrong_ones_say_what_is_wrong() {
        for text in ["", "re:(", "re:a{999999}{9999}"] {
            assert!(text.parse::<Pattern>().unwrap_err().contains("api-*"), "{text}");
        }
    }
}
