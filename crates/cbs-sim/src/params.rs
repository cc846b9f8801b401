//! The body of a request, checked against what its action declares.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// A field that an action takes.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

impl Field {
    pub(crate) const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    pub(crate) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }
}

/// The types of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Texts,
    /// Not negative.
    Number,
    Flag,
    /// A list of `{"Name": text, "Values": texts}`.
    Filters,
    /// A list of `{"Key": text, "Value": text}`.
    Tags,
}

impl Kind {
    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_u64(),
            Self::Flag => value.is_boolean(),
            Self::Texts => value.as_array().is_some_and(|values| values.iter().all(Value::is_string)),
            Self::Tags => value.as_array().is_some_and(|tags| {
                tags.iter().all(|tag| tag["Key"].is_string() && tag["Value"].is_string())
            }),
            Self::Filters => value.as_array().is_some_and(|filters| {
                filters.iter().all(|filter| {
                    filter.as_object().is_some_and(|filter| {
                        filter.len() == 2
                            && filter.get("Name").is_some_and(Value::is_string)
                            && filter.get("Values").is_some_and(|values| Self::Texts.admits(values))
                    })
                })
            }),
        }
    }
}

/// A body whose fields are known, present and of their types. A null is an absent field.
#[derive(Debug)]
pub(crate) struct Params(Map<String, Value>);

impl Params {
    pub(crate) fn check(body: &Value, fields: &[Field]) -> Result<Self, ApiError> {
        let Some(given) = body.as_object() else {
            return Err(ApiError::new("InvalidParameter", "The request body is not a JSON object."));
        };
        if let Some(unknown) = given.keys().find(|key| fields.iter().all(|field| field.name != **key)) {
            return Err(ApiError::new(
                "UnknownParameter",
                format!("The parameter `{unknown}` is not recognized."),
            ));
        }
        for Field { name, kind, required } in fields {
            match given.get(*name).filter(|value| !value.is_null()) {
                None if *required => return Err(missing(name)),
                Some(value) if !kind.admits(value) => {
                    return Err(ApiError::new(
                        "InvalidParameter",
                        format!("The value type of parameter `{name}` is not valid."),
                    ));
                }
                _ => {}
            }
        }
        Ok(Self(given.clone()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    pub(crate) fn required_text(&self, name: &'static str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| missing(name))
    }

    /// Whether a flag is there and set.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The values of a list, unless it is absent or empty.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        texts(self.0.get(name)?).filter(|texts| !texts.is_empty())
    }

    pub(crate) fn filters(&self) -> Option<Vec<Filter<'_>>> {
        let filters = self.0.get("Filters")?.as_array()?;
        let read = filters.iter().filter_map(Filter::read).collect::<Vec<_>>();
        Some(read).filter(|filters| !filters.is_empty())
    }

    /// Cuts the page that `Offset` and `Limit` name out of a listing; gives its whole length, too.
    pub(crate) fn page<T>(&self, listing: Vec<T>) -> Result<(usize, Vec<T>), ApiError> {
        const MOST: u64 = 100;
        let number = |name| self.0.get(name).and_then(Value::as_u64);
        let limit = number("Limit").unwrap_or(20);
        if limit > MOST {
            return Err(ApiError::invalid_value("Limit", "at most 100"));
        }
        let total = listing.len();
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let offset = size(number("Offset").unwrap_or(0));
        Ok((total, listing.into_iter().skip(offset).take(size(limit)).collect()))
    }

    /// Sorts a listing by a key that stands for any of the fields, as `Order` says: rising, where it says nothing.
    pub(crate) fn order<T, K: Ord>(
        &self,
        listing: &mut [T],
        fields: &[&str],
        key: impl Fn(&T) -> K,
    ) -> Result<(), ApiError> {
        if self.text("OrderField").is_some_and(|field| !fields.contains(&field)) {
            return Err(ApiError::invalid_value("OrderField", &fields.join(" or ")));
        }
        match self.text("Order") {
            None | Some("ASC") => listing.sort_by_key(key),
            Some("DESC") => listing.sort_by_key(|item| std::cmp::Reverse(key(item))),
            Some(_) => return Err(ApiError::invalid_value("Order", "ASC or DESC")),
        }
        Ok(())
    }

    /// The ids that a listing asks for, or the filters: never both.
    pub(crate) fn selection(&self, ids: &'static str) -> Result<Selection<'_>, ApiError> {
        match (self.texts(ids), self.filters()) {
            (Some(_), Some(_)) => Err(ApiError::new(
                "InvalidParameter",
                format!("`{ids}` and `Filters` cannot be specified at the same time."),
            )),
            (Some(ids), None) => Ok(Selection::Ids(ids)),
            (None, filters) => Ok(Selection::Filters(filters.unwrap_or_default())),
        }
    }
}

pub(crate) enum Selection<'a> {
    Ids(Vec<&'a str>),
    Filters(Vec<Filter<'a>>),
}

/// One condition of a listing: the named property is one of the values.
pub(crate) struct Filter<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    fn read(filter: &'a Value) -> Option<Self> {
        Some(Self { name: filter.get("Name")?.as_str()?, values: texts(filter.get("Values")?)? })
    }

    pub(crate) fn admits(&self, value: &str) -> bool {
        self.values.contains(&value)
    }

    /// What to answer to a name that the listing does not know.
    pub(crate) fn unknown(&self) -> ApiError {
        ApiError::new("InvalidFilter", format!("The filter `{}` is not supported.", self.name))
    }
}

/// `MissingParameter`, for a field of the body or a header.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request is missing a required parameter `{name}`."))
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}
