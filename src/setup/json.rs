//! JSON with or without comments, read with spans and changed by splices. White space, comments, order
//! and everything else that is not to be changed stay as they were, byte for byte.
//!
//! The editor of `jsonc-parser` itself (0.34, feature `cst`) would not do: it breaks objects on one line
//! into several, drops empty lines inside of braces, removes comments together with the member beside
//! them, and of two members with the same name changes the first, while readers take the last.

use std::borrow::Cow;
use std::ops::Range;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::Trouble;
use super::text::{Splice, apply, indent, line_start, newline, starts_line};

/// A value to be written. Members keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A string.
    Text(String),
    /// A whole number.
    Number(u32),
    /// `true` or `false`.
    Bool(bool),
    /// An array, on one line.
    List(Vec<Node>),
    /// An array, a line for each element where there is room.
    Lines(Vec<Node>),
    /// An object.
    Map(Vec<(&'static str, Node)>),
    /// A value as it was written before.
    Raw(String),
}

impl Node {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether `value` is equal, whatever the order of its members.
    pub(super) fn is(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(text), Value::StringLit(other)) => *text == other.value,
            (Self::Number(number), Value::NumberLit(other)) => number.to_string() == other.value,
            (Self::Bool(value), Value::BooleanLit(other)) => *value == other.value,
            (Self::List(items) | Self::Lines(items), Value::Array(other)) => {
                items.len() == other.elements.len()
                    && items.iter().zip(&other.elements).all(|(item, other)| item.is(other))
            }
            (Self::Map(members), Value::Object(other)) => {
                members.len() == other.properties.len()
                    && members.iter().all(|(name, member)| {
                        get(other, name).is_some_and(|value| member.is(value))
                    })
            }
            _ => false,
        }
    }

    /// Formats the node: over several lines, of which the first has this indent, or on one line.
    fn write(&self, style: &Style, indent: Option<&str>) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::List(items) => {
                wrap('[', ']', style, None, items.iter(), |item, _| item.write(style, None))
            }
            Self::Lines(items) => wrap('[', ']', style, indent, items.iter(), |item, deeper| {
                item.write(style, deeper)
            }),
            Self::Map(members) => {
                wrap('{', '}', style, indent, members.iter(), |(name, member), deeper| {
                    member.write_member(name, style, deeper)
                })
            }
            Self::Raw(text) => text.clone(),
        }
    }

    /// As a member of an object. Its name is one of ours and needs no escapes.
    fn write_member(&self, name: &str, style: &Style, indent: Option<&str>) -> String {
        let colon = if style.spaced { ": " } else { ":" };
        format!("\"{name}\"{colon}{}", self.write(style, indent))
    }

    /// In as many objects as `path` has names.
    fn within(self, path: &[&'static str]) -> Self {
        path.iter().rev().fold(self, |node, name| Self::Map(vec![(*name, node)]))
    }
}

/// A string.
pub(super) fn quoted(text: &str) -> String {
    // Serializing a string cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

fn wrap<'a, T: 'a>(
    open: char,
    close: char,
    style: &Style,
    indent: Option<&str>,
    items: impl ExactSizeIterator<Item = &'a T>,
    write: impl Fn(&T, Option<&str>) -> String,
) -> String {
    if items.len() == 0 {
        return format!("{open}{close}");
    }
    let Some(indent) = indent else {
        let items: Vec<_> = items.map(|item| write(item, None)).collect();
        return format!("{open}{}{close}", items.join(style.comma()));
    };
    let newline = style.newline;
    let deeper = format!("{indent}{}", style.unit);
    let items: Vec<_> =
        items.map(|item| format!("{newline}{deeper}{}", write(item, Some(&deeper)))).collect();
    format!("{open}{}{newline}{indent}{close}", items.join(","))
}

/// How the text is laid out.
struct Style {
    newline: &'static str,
    /// One step of indentation.
    unit: String,
    /// A space after colons and commas on one line.
    spaced: bool,
}

impl Style {
    fn of(text: &str, root: &Value<'_>) -> Self {
        let first = match root {
            Value::Object(root) => root.properties.first(),
            _ => None,
        };
        let at = first.map(|first| first.range.start);
        let unit = at.filter(|at| starts_line(text, *at)).map(|at| indent(text, at));
        let spaced = first.is_none_or(|first| {
            let value = first.value.range().start;
            text.get(..value).is_none_or(|before| before.ends_with([' ', '\n', '\t']))
        });
        let unit = unit.filter(|unit| !unit.is_empty()).unwrap_or("  ");
        Self { newline: newline(text), unit: unit.into(), spaced }
    }

    fn comma(&self) -> &'static str {
        if self.spaced { ", " } else { "," }
    }
}

/// An object or array: where it is, and where its members are.
struct Container {
    range: Range<usize>,
    items: Vec<Range<usize>>,
}

impl Container {
    fn of(value: &Value<'_>) -> Option<Self> {
        let span = |range: jsonc_parser::common::Range| range.start..range.end;
        match value {
            Value::Object(object) => Some(Self {
                range: span(object.range),
                items: object.properties.iter().map(|member| span(member.range)).collect(),
            }),
            Value::Array(array) => Some(Self {
                range: span(array.range),
                items: array.elements.iter().map(|element| span(element.range())).collect(),
            }),
            _ => None,
        }
    }
}

/// Parses a text whose root is an object, and passes it to `look`; `None` for an empty text.
///
/// # Errors
/// It is not JSON, or its root is not an object.
pub(super) fn read<T>(
    text: &str,
    look: impl FnOnce(Option<&Value<'_>>) -> T,
) -> Result<T, Trouble> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options)
        .map_err(|error| Trouble::malformed(text, error.range().start, error.kind().to_string()))?;
    match &parsed.value {
        Some(value) if !matches!(value, Value::Object(_)) => {
            Err(Trouble::malformed(text, value.range().start, "expected an object here"))
        }
        value => Ok(look(value.as_ref())),
    }
}

/// As [`read`], of the value at `path`; `None` if there is none.
///
/// # Errors
/// As [`read`].
pub(super) fn read_at<T>(
    text: &str,
    path: &[&str],
    look: impl FnOnce(Option<&Value<'_>>) -> T,
) -> Result<T, Trouble> {
    read(text, |root| look(root.and_then(|root| find(root, path))))
}

/// A member of an object; the last of several of one name counts, as in ECMA-404's readers.
pub(super) fn get<'a, 'b>(object: &'b Object<'a>, name: &str) -> Option<&'b Value<'a>> {
    let member = object.properties.iter().rev().find(|member| member.name.as_str() == name)?;
    Some(&member.value)
}

/// The value at `path`, in which a number is an index of an array.
pub(super) fn find<'a, 'b>(root: &'b Value<'a>, path: &[&str]) -> Option<&'b Value<'a>> {
    path.iter().try_fold(root, |value, name| match value {
        Value::Object(object) => get(object, name),
        Value::Array(array) => array.elements.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The source of a value in `text`.
pub(super) fn raw<'a>(text: &'a str, value: &Value<'_>) -> &'a str {
    let range = value.range();
    text.get(range.start..range.end).unwrap_or_default()
}

/// The value of a member that is a string.
pub(super) fn text_of<'b>(value: &'b Value<'_>, name: &str) -> Option<&'b str> {
    match value {
        Value::Object(object) => match get(object, name)? {
            Value::StringLit(text) => Some(&text.value),
            _ => None,
        },
        _ => None,
    }
}

/// The elements of an array; empty if the value is not an array.
pub(super) fn elements<'a, 'b>(value: &'b Value<'a>) -> &'b [Value<'a>] {
    match value {
        Value::Array(array) => &array.elements,
        _ => &[],
    }
}

/// Sets the value at `path`, replacing any other. Creates objects that are missing on the way.
///
/// # Errors
/// The text is not a JSON object, or something on the way is not an object.
pub(super) fn set(text: &str, path: &[&'static str], node: Node) -> Result<String, Trouble> {
    place_in(text, path, node, false)
}

/// Appends to the array at `path`. Creates it if it is missing.
///
/// # Errors
/// The text is not a JSON object, or something on the way is not an object, or at its end no array.
pub(super) fn append(text: &str, path: &[&'static str], node: Node) -> Result<String, Trouble> {
    place_in(text, path, node, true)
}

fn place_in(
    text: &str,
    path: &[&'static str],
    node: Node,
    to_array: bool,
) -> Result<String, Trouble> {
    // A file that is empty or has only comments gets an object first.
    let mut whole = Cow::Borrowed(text);
    if read(text, |root| root.is_none())? {
        let line = if text.trim().is_empty() { "" } else { newline(text) };
        let kept = if line.is_empty() { "" } else { text.trim_end() };
        whole = format!("{kept}{line}{{}}{}", newline(text)).into();
    }
    let text = &*whole;
    let done = read(text, |root| match root {
        Some(root) => insert_at(text, root, path, node, to_array),
        None => Err(Trouble::Internal),
    })??;
    checked(done)
}

/// Replaces the value at `path`, in which a number is an index of an array.
///
/// # Errors
/// The text is not a JSON object, or nothing is there.
pub(super) fn replace(text: &str, path: &[&str], node: &Node) -> Result<String, Trouble> {
    let done = read(text, |root| {
        let root = root?;
        let value = find(root, path)?;
        let is_inline = !starts_line(text, value.range().start);
        Some(write_over(text, value, node, &Style::of(text, root), is_inline))
    })?;
    checked(done.ok_or(Trouble::Internal)?)
}

/// Follows `path` as far as it exists, and creates the rest there.
fn insert_at(
    text: &str,
    root: &Value<'_>,
    path: &[&'static str],
    node: Node,
    to_array: bool,
) -> Result<String, Trouble> {
    let style = Style::of(text, root);
    let mut value = root;
    let mut inline = false;
    for (depth, name) in path.iter().enumerate() {
        let Value::Object(object) = value else {
            return Err(Trouble::not_a(text, path.get(..depth), "an object", value.range().start));
        };
        let Some(inner) = get(object, name) else {
            let node = if to_array { Node::Lines(vec![node]) } else { node };
            let node = node.within(path.get(depth + 1..).unwrap_or_default());
            let container = Container::of(value).ok_or(Trouble::Internal)?;
            let member = |indent: Option<&str>| node.write_member(name, &style, indent);
            return Ok(insert(text, &container, inline, &style, member));
        };
        inline = !object.properties.first().is_some_and(|m| starts_line(text, m.range.start));
        value = inner;
    }
    if to_array {
        let (Value::Array(_), Some(container)) = (value, Container::of(value)) else {
            return Err(Trouble::not_a(text, Some(path), "an array", value.range().start));
        };
        return Ok(insert(text, &container, inline, &style, |indent| node.write(&style, indent)));
    }
    Ok(write_over(text, value, &node, &style, inline))
}

/// Writes a node in the place of a value; `inline`: on one line.
fn write_over(text: &str, value: &Value<'_>, node: &Node, style: &Style, inline: bool) -> String {
    let range = value.range();
    let indent = (!inline).then(|| indent(text, range.start));
    let with = node.write(style, indent);
    apply(text, &[Splice { range: range.start..range.end, with }])
}

/// Inserts an item at the end of a container, in the layout of the item before it. `inline`: if the
/// container is empty, it stays on its line.
fn insert(
    text: &str,
    container: &Container,
    inline: bool,
    style: &Style,
    item: impl Fn(Option<&str>) -> String,
) -> String {
    let newline = style.newline;
    let Some(last) = container.items.last() else {
        let (from, to) = (container.range.start + 1, container.range.end.saturating_sub(1));
        let kept = text.get(from..to).unwrap_or_default().trim_end();
        if inline && kept.is_empty() {
            return apply(text, &[Splice { range: from..to, with: item(None) }]);
        }
        let base = indent(text, container.range.start);
        let deeper = format!("{base}{}", style.unit);
        let with = format!("{newline}{deeper}{}{newline}{base}", item(Some(&deeper)));
        return apply(text, &[Splice { range: from + kept.len()..to, with }]);
    };
    let comma = comma_after(text, last.end);
    if !starts_line(text, last.start) {
        let with = |before: &str, after: &str| format!("{before}{}{after}", item(None));
        let splice = match comma {
            Some(comma) => {
                Splice::insert(comma + 1, with(style.comma().trim_start_matches(','), ","))
            }
            None => Splice::insert(last.end, with(style.comma(), "")),
        };
        return apply(text, &[splice]);
    }
    let indent = indent(text, last.start);
    let body = format!("{newline}{indent}{}", item(Some(indent)));
    if let Some(comma) = comma {
        let at = comments_end(text, comma + 1);
        return apply(text, &[Splice::insert(at, format!("{body},"))]);
    }
    let at = comments_end(text, last.end);
    apply(text, &[Splice::insert(last.end, ","), Splice::insert(at, body)])
}

/// Removes the member at `path`. Returns the same text if there is none.
///
/// # Errors
/// The text is not a JSON object.
pub(super) fn remove(text: &str, path: &[&str]) -> Result<String, Trouble> {
    let Some((name, parents)) = path.split_last() else { return Ok(text.into()) };
    take_out(text, parents, |parent| match parent {
        Value::Object(object) => {
            object.properties.iter().rposition(|member| member.name.as_str() == *name)
        }
        _ => None,
    })
}

/// Removes an element of the array at `path`. Returns the same text if there is none.
///
/// # Errors
/// The text is not a JSON object.
pub(super) fn remove_element(text: &str, path: &[&str], index: usize) -> Result<String, Trouble> {
    take_out(text, path, |parent| (index < elements(parent).len()).then_some(index))
}

fn take_out(
    text: &str,
    parents: &[&str],
    which: impl FnOnce(&Value<'_>) -> Option<usize>,
) -> Result<String, Trouble> {
    let found = read_at(text, parents, |parent| Some((Container::of(parent?)?, which(parent?)?)))?;
    let Some((container, index)) = found else { return Ok(text.into()) };
    let whole_line = apply(text, &removal(text, &container, index, true));
    // Removing the line end too could make a line comment before it swallow what follows.
    match checked(whole_line) {
        Ok(done) => Ok(done),
        Err(_) => checked(apply(text, &removal(text, &container, index, false))),
    }
}

fn removal(text: &str, container: &Container, index: usize, whole_line: bool) -> Vec<Splice> {
    let Some(item) = container.items.get(index) else { return Vec::new() };
    let comma = comma_after(text, item.end);
    let end = comma.map_or(item.end, |comma| comma + 1);
    if container.items.len() == 1 {
        let (from, to) = (container.range.start + 1, container.range.end.saturating_sub(1));
        let is_blank =
            |range: Range<usize>| text.get(range).is_some_and(|text| text.trim().is_empty());
        if is_blank(from..item.start) && is_blank(end..to) {
            return vec![Splice::remove(from..to)];
        }
    }
    let before = text.get(..item.start).unwrap_or_default();
    let own_line = starts_line(text, item.start);
    let mut start = before.trim_end_matches([' ', '\t']).len();
    if own_line && whole_line {
        let line = line_start(text, item.start);
        start = text.get(..line).map_or(line, |before| {
            before
                .strip_suffix('\n')
                .map_or(line, |before| before.strip_suffix('\r').unwrap_or(before).len())
        });
    }
    let previous = index.checked_sub(1).and_then(|index| container.items.get(index));
    match (previous, comma) {
        // The first of several on one line: what follows moves up.
        (None, Some(_)) if !own_line => {
            let rest = text.get(end..).unwrap_or_default();
            let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            vec![Splice::remove(item.start..end + spaces)]
        }
        (Some(previous), None) => {
            let comma = comma_after(text, previous.end);
            let comma = comma.map(|comma| Splice::remove(comma..comma + 1));
            comma.into_iter().chain([Splice::remove(start..end)]).collect()
        }
        _ => vec![Splice::remove(start..end)],
    }
}

/// The comma that follows `at`, white space and comments skipped.
fn comma_after(text: &str, at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        let rest = text.get(at..)?;
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            at += trimmed.find('\n')?;
        } else if let Some(comment) = trimmed.strip_prefix("/*") {
            at += comment.find("*/")? + "/**/".len();
        } else {
            return trimmed.starts_with(',').then_some(at);
        }
    }
}

/// The end of the comments that follow `at` in its line, or `at`.
fn comments_end(text: &str, at: usize) -> usize {
    let mut end = at;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\t']);
        let from = end + rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            let line = trimmed.find('\n').unwrap_or(trimmed.len());
            let line = trimmed.get(..line).unwrap_or_default();
            return from + line.strip_suffix('\r').unwrap_or(line).len();
        }
        let Some(comment) = trimmed.strip_prefix("/*") else { return end };
        let Some(length) = comment.find("*/") else { return end };
        if comment.get(..length).is_some_and(|comment| comment.contains('\n')) {
            return end;
        }
        end = from + length + "/**/".len();
    }
}

/// Parses the result once more before it is returned.
fn checked(text: String) -> Result<String, Trouble> {
    match read(&text, |root| root.is_some()) {
        Ok(true) => Ok(text),
        _ => Err(Trouble::Internal),
    }
}

#[cfg(test)]
mod tests;
