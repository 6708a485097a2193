//! Defines what is written in one of several ways, each with fields of its own, among the fields of a record.
//!
//! `load: …` with `good: …` says one thing, `prometheus: …` in its place another. Which it is, is told by the fields
//! that are there; fields of two ways are a mistake. Used as the last field of a [`record!`](crate::record).

use super::decode::{Fields, Mistakes, list_of};

/// Defines an enum of records, exactly one of which is written: the type, its reader and its part of a JSON Schema.
#[macro_export]
macro_rules! either {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $( $(#[doc = $vdoc:literal])* $variant:ident($type:ty) ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(untagged)]
        pub enum $name { $( $(#[doc = $vdoc])* $variant($type), )* }

        impl $crate::spec::define::Record for $name {
            fn known() -> Vec<&'static str> {
                [$( <$type as $crate::spec::define::Record>::known(), )*].concat()
            }

            fn take(
                fields: &$crate::spec::decode::Fields<'_>,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                let ways = [$( <$type as $crate::spec::define::Record>::known(), )*];
                let chosen = $crate::spec::alternatives::chosen(fields, &ways, mistakes)?;
                let mut way = 0..;
                $(
                    if way.next() == Some(chosen) {
                        return <$type as $crate::spec::define::Record>::take(fields, mistakes).map(Self::$variant);
                    }
                )*
                None
            }

            fn describe(
                schema: &mut $crate::spec::define::RecordSchema,
                generator: &mut ::schemars::SchemaGenerator,
            ) {
                $( schema.way(&[$($vdoc),*], |schema| {
                    <$type as $crate::spec::define::Record>::describe(schema, generator);
                }); )*
            }
        }
    };
}

/// Which of several ways, each known by its fields, is written; nothing if none or more than one is, which `mistakes`
/// then has.
pub fn chosen(fields: &Fields<'_>, ways: &[Vec<&'static str>], mistakes: &mut Mistakes) -> Option<usize> {
    let given = ways.iter().enumerate().filter_map(|(way, known)| {
        let (name, span) = known.iter().find_map(|name| Some((*name, fields.key(name)?)))?;
        Some((way, name, span))
    });
    let given: Vec<_> = given.collect();
    match given.as_slice() {
        [(way, ..)] => Some(*way),
        [] => {
            let first: Vec<_> = ways.iter().filter_map(|known| known.first().copied()).collect();
            fields.lacks_one_of(&first, mistakes);
            None
        }
        [(_, one, _), (_, other, span), ..] => {
            let message = format!("`{}` has both `{one}` and `{other}`", fields.what());
            mistakes.add(*span, message, format!("keep one of {}", list_of(&[one, other])));
            None
        }
    }
}
