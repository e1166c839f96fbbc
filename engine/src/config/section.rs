//! Typed reading of one table: each getter returns the value, or records what is wrong with it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{At, Problems};
use super::schema::Table;

/// A value as it stands in the file.
pub(super) type Raw<'a> = At<&'a DeValue<'a>>;

/// A table of the file. Making one reports the keys that are not in the schema.
pub(super) struct Section<'a> {
    schema: &'static Table,
    entries: &'a DeTable<'a>,
    /// Where the table stands, for keys that are missing.
    place: At<()>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(entries: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        let place = At { value: (), key: "port".into(), span: 0..0 };
        Self::new("", entries, place, problems)
    }

    /// The table at `raw`, or nothing (recorded) if it is none. `path` is its schema's.
    pub(super) fn of(path: &str, raw: &Raw<'a>, problems: &'a Problems) -> Option<Self> {
        let Some(entries) = raw.value.as_table() else {
            let header = Table::of(path).header;
            let what = format!("{} where a table is needed", kind(raw.value));
            problems.add(raw, what, format!("write it as {header}"));
            return None;
        };
        Some(Self::new(path, entries, raw.with(()), problems))
    }

    fn new(path: &str, entries: &'a DeTable<'a>, place: At<()>, problems: &'a Problems) -> Self {
        let section = Self { schema: Table::of(path), entries, place, problems };
        for (key, _) in entries {
            let name = key.get_ref().as_ref();
            if section.schema.example(name).is_none() {
                let what = format!("there is no such key in {}", section.schema.header);
                let right = section.schema.suggestion(name);
                problems.add_key(&section.path_of(name), Some(key.span()), what, right);
            }
        }
        section
    }

    /// Where problems go.
    pub(super) const fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The place of the table itself.
    pub(super) const fn place(&self) -> &At<()> {
        &self.place
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Records each of `keys` that is missing.
    pub(super) fn require(&self, keys: &[&str]) {
        for key in keys.iter().filter(|key| !self.has(key)) {
            let right = format!("add {} to {}", self.example(key), self.schema.header);
            let span = Some(self.place.span.clone());
            self.problems.add_key(&self.path_of(key), span, "this key is missing", right);
        }
    }

    /// Records each of `keys` that is there: they mean nothing here, `because`.
    pub(super) fn refuse(&self, keys: &[&str], because: &str) {
        for (key, _) in
            self.entries.iter().filter(|(key, _)| keys.contains(&key.get_ref().as_ref()))
        {
            let path = self.path_of(key.get_ref());
            self.problems.add_key(&path, Some(key.span()), because, "remove this key");
        }
    }

    /// The value of `key` as it stands.
    pub(super) fn raw(&self, key: &str) -> Option<Raw<'a>> {
        let value: &Spanned<DeValue<'a>> = self.entries.get(key)?;
        Some(At { value: value.get_ref(), key: self.path_of(key), span: value.span() })
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Option<At<&'a str>> {
        self.as_text(&self.raw(key)?)
    }

    /// An integer within `range`.
    pub(super) fn integer<T: TryFrom<i64> + Into<i64> + Copy + Display>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Option<At<T>> {
        self.as_integer(&self.raw(key)?, range)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        let raw = self.raw(key)?;
        let value = raw.value.as_bool();
        if value.is_none() {
            self.mismatch(&raw, "true or false");
        }
        value.map(|value| raw.with(value))
    }

    /// A duration such as `"500ms"` within `range`.
    pub(super) fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let raw = self.raw(key)?;
        let Some(text) = raw.value.as_str() else {
            self.mismatch(&raw, "a duration (a string with a unit)");
            return None;
        };
        let Ok(value) = humantime::parse_duration(text) else {
            self.problems.add(&raw, format!("`{text}` is no duration"), self.write(key));
            return None;
        };
        if !range.contains(&value) {
            let [low, high] = [*range.start(), *range.end()].map(humantime::format_duration);
            let what = format!("{text} is not between {low} and {high}");
            self.problems.add(&raw, what, self.write(key));
            return None;
        }
        Some(raw.with(value))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<At<T>> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let what = format!("`{}` is not a value of this key", text.value);
            self.problems.add(&text, what, format!("write one of {}", words.join(", ")));
        }
        found.map(|(_, value)| text.with(*value))
    }

    /// The elements of an array; none if the key is missing.
    pub(super) fn list(&self, key: &str) -> Vec<Raw<'a>> {
        let Some(raw) = self.raw(key) else { return Vec::new() };
        let Some(array) = raw.value.as_array() else {
            self.mismatch(&raw, "an array");
            return Vec::new();
        };
        let element = |item: &'a Spanned<DeValue<'a>>| At {
            value: item.get_ref(),
            key: raw.key.clone(),
            span: item.span(),
        };
        array.iter().map(element).collect()
    }

    /// The strings of an array.
    pub(super) fn texts(&self, key: &str) -> Vec<At<&'a str>> {
        self.list(key).iter().filter_map(|raw| self.as_text(raw)).collect()
    }

    /// The integers of an array, each within `range`.
    pub(super) fn integers<T: TryFrom<i64> + Into<i64> + Copy + Display>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Vec<At<T>> {
        let list = self.list(key);
        list.iter().filter_map(|raw| self.as_integer(raw, range.clone())).collect()
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &str) -> Option<Self> {
        let raw = self.raw(key)?;
        Self::of(&raw.key, &raw, self.problems)
    }

    /// An array of tables below this one.
    pub(super) fn tables(&self, key: &str) -> Vec<Self> {
        if let Some(raw) = self.raw(key).filter(|raw| raw.value.is_table()) {
            let what = "one table where an array of tables is needed";
            self.problems.add(&raw, what, format!("write {}", self.example(key)));
            return Vec::new();
        }
        self.list(key).iter().filter_map(|raw| Self::of(&raw.key, raw, self.problems)).collect()
    }

    /// "write `key = right value`".
    pub(super) fn write(&self, key: &str) -> String {
        format!("write e.g. {}", self.example(key))
    }

    fn as_text(&self, raw: &Raw<'a>) -> Option<At<&'a str>> {
        let text = raw.value.as_str();
        if text.is_none() {
            self.mismatch(raw, "a string");
        }
        text.map(|text| raw.with(text))
    }

    fn as_integer<T: TryFrom<i64> + Into<i64> + Copy + Display>(
        &self,
        raw: &Raw<'a>,
        range: RangeInclusive<T>,
    ) -> Option<At<T>> {
        let Some(integer) = raw.value.as_integer() else {
            self.mismatch(raw, "an integer");
            return None;
        };
        let wide: RangeInclusive<i64> = (*range.start()).into()..=(*range.end()).into();
        let value = i64::from_str_radix(integer.as_str(), integer.radix());
        let value =
            value.ok().filter(|value| wide.contains(value)).and_then(|v| T::try_from(v).ok());
        if value.is_none() {
            let what = format!("{integer} is not between {} and {}", range.start(), range.end());
            self.problems.add(raw, what, self.write(last(&raw.key)));
        }
        value.map(|value| raw.with(value))
    }

    fn mismatch(&self, raw: &Raw<'_>, needed: &str) {
        let what = format!("{} where {needed} is needed", kind(raw.value));
        self.problems.add(raw, what, self.write(last(&raw.key)));
    }

    fn example(&self, key: &str) -> String {
        self.schema.example(key).unwrap_or_default()
    }

    fn path_of(&self, key: &str) -> String {
        if self.schema.path.is_empty() { key.into() } else { format!("{}.{key}", self.schema.path) }
    }
}

/// The last part of a key's path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// What a value is, with its article.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
