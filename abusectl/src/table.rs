// SPDX-License-Identifier: MIT

//! Tables as lsblk and losetup print them: aligned, raw, or JSON, with the columns asked for.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde_json::Value;

use crate::human;
use crate::parse::nearest;

/// One column a table can have.
pub struct Column {
    /// Its heading; in lower case its key in JSON.
    pub name: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// One line for `--help`.
    pub help: &'static str,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing to say: blank, or null.
    None,
    /// A word.
    Text(String),
    /// Several words, one below the other.
    Lines(Vec<String>),
    /// A size: for people unless `--bytes`.
    Bytes(u64),
    /// A count.
    Number(u64),
    /// 0 or 1, or a boolean.
    Bool(bool),
    /// An age: for people, or seconds.
    Age(Duration),
    /// So many per second.
    Rate(f64),
}

/// What is printed of a table, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Style {
    /// Columns to print, separated by commas; +COLS adds to the usual ones
    #[arg(short = 'o', long = "output", value_name = "COLS")]
    pub columns: Option<String>,
    /// Print no heading line
    #[arg(short = 'n', long)]
    pub noheadings: bool,
    /// Print sizes in bytes
    #[arg(short = 'b', long)]
    pub bytes: bool,
    /// Print JSON: sizes in bytes, ages in seconds
    #[arg(short = 'J', long, conflicts_with = "raw")]
    pub json: bool,
    /// Print for scripts: one space between columns, special characters as \xHH
    #[arg(long)]
    pub raw: bool,
}

/// The columns `spec` asks for, as indices into `all`.
pub fn choose(spec: Option<&str>, all: &[Column], usual: &[&str]) -> Result<Vec<usize>, String> {
    let find = |name: &str| {
        all.iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let near = nearest::suggestion(name, all.iter().map(|column| column.name));
                format!("there is no column '{name}'{near}")
            })
    };
    let words = |spec: &str| {
        spec.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(find)
            .collect()
    };
    let usual = || {
        usual
            .iter()
            .map(|name| find(name))
            .collect::<Result<Vec<_>, _>>()
    };
    match spec {
        None => usual(),
        Some(spec) => match spec.strip_prefix('+') {
            Some(more) => {
                let mut columns = usual()?;
                let more: Vec<usize> = words(more)?;
                columns.extend(more);
                Ok(columns)
            }
            None => words(spec),
        },
    }
}

/// The help lines of all columns.
pub fn help(all: &[Column]) -> String {
    let mut text = String::from("Columns:\n");
    for column in all {
        text.push_str(&format!("  {:<12} {}\n", column.name, column.help));
    }
    text
}

/// The whole table as text. `rows` have one cell per entry of `columns`; `key` is the name of the
/// array in JSON.
pub fn render(key: &str, columns: &[&Column], rows: &[Vec<Cell>], style: &Style) -> String {
    if style.json {
        return json(key, columns, rows);
    }
    let heading =
        (!style.noheadings).then(|| columns.iter().map(|c| vec![c.name.to_string()]).collect());
    let body = rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.text(style.bytes)).collect());
    let lines: Vec<Vec<Vec<String>>> = heading.into_iter().chain(body).collect();
    match style.raw {
        true => raw(&lines),
        false => aligned(columns, &lines),
    }
}

fn raw(rows: &[Vec<Vec<String>>]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(|lines| escape(&lines.join("\n"))).collect();
        text.push_str(&cells.join(" "));
        text.push('\n');
    }
    text
}

/// Blanks and control characters as `\xHH`, so that a field is always one field.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c == ' ' || c == '\\' || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn aligned(columns: &[&Column], rows: &[Vec<Vec<String>>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).flatten();
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let height = row.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for line in 0..height {
            let mut out = String::new();
            for ((cell, width), column) in row.iter().zip(&widths).zip(columns) {
                let cell = cell.get(line).map_or("", String::as_str);
                match column.right {
                    true => out.push_str(&format!("{cell:>width$} ")),
                    false => out.push_str(&format!("{cell:<width$} ")),
                }
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
    }
    text
}

fn json(key: &str, columns: &[&Column], rows: &[Vec<Cell>]) -> String {
    let rows = rows.iter().map(|row| {
        let fields = columns.iter().zip(row);
        Object(
            fields
                .map(|(column, cell)| (column.name.to_ascii_lowercase(), cell.json()))
                .collect(),
        )
    });
    pretty(&Object(vec![(key.to_string(), rows.collect::<Vec<_>>())]))
}

/// JSON as this tool prints it, with a newline at the end.
pub fn pretty(value: &impl serde::Serialize) -> String {
    // Maps with text keys, numbers and strings: nothing here can fail to serialize.
    serde_json::to_string_pretty(value).map_or_else(|_| String::new(), |text| text + "\n")
}

/// A time in JSON. From nanoseconds, because that rounds once: 1.2345, not 1.2345000000000002.
pub fn seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}

/// A JSON object whose keys keep the order they were given in.
pub struct Object<T>(pub Vec<(String, T)>);

impl<T: serde::Serialize> serde::Serialize for Object<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Cell {
    /// A cell for what may not be there.
    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
        value.map_or(Cell::None, cell)
    }

    /// The cell for people, by lines.
    pub fn text(&self, bytes: bool) -> Vec<String> {
        match self {
            Cell::None => vec![String::new()],
            Cell::Text(text) => vec![text.clone()],
            Cell::Lines(lines) => lines.clone(),
            Cell::Bytes(n) if bytes => vec![n.to_string()],
            Cell::Bytes(n) => vec![human::size(*n)],
            Cell::Number(n) => vec![n.to_string()],
            Cell::Bool(b) => vec![u8::from(*b).to_string()],
            Cell::Age(age) => vec![human::age(*age)],
            Cell::Rate(rate) => vec![human::rate(*rate)],
        }
    }

    /// The cell for scripts.
    pub fn json(&self) -> Value {
        match self {
            Cell::None => Value::Null,
            Cell::Text(text) => text.as_str().into(),
            Cell::Lines(lines) => lines.clone().into(),
            Cell::Bytes(n) | Cell::Number(n) => (*n).into(),
            Cell::Bool(b) => (*b).into(),
            Cell::Age(age) => seconds(*age).into(),
            // Digits behind those would only say how exactly the clock was read.
            Cell::Rate(rate) => ((rate * 1000.0).round() / 1000.0).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Column] = &[
        Column {
            name: "NAME",
            right: false,
            help: "name",
        },
        Column {
            name: "SIZE",
            right: true,
            help: "size",
        },
        Column {
            name: "RO",
            right: true,
            help: "read-only",
        },
        Column {
            name: "MOUNTPOINTS",
            right: false,
            help: "where",
        },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![
                Cell::Text("abuse0".into()),
                Cell::Bytes(1 << 30),
                Cell::Bool(false),
                Cell::Lines(vec!["/mnt/a b".into(), "[SWAP]".into()]),
            ],
            vec![
                Cell::Text("abuse10".into()),
                Cell::None,
                Cell::Bool(true),
                Cell::Lines(vec![]),
            ],
        ]
    }

    fn shown(style: &Style) -> String {
        let columns: Vec<&Column> = ALL.iter().collect();
        render("devices", &columns, &rows(), style)
    }

    #[test]
    fn columns_are_aligned_and_mountpoints_stand_below_each_other() {
        assert_eq!(
            shown(&Style::default()),
            "NAME    SIZE RO MOUNTPOINTS\nabuse0    1G  0 /mnt/a b\n                [SWAP]\nabuse10       1\n"
        );
    }

    #[test]
    fn headings_and_units_can_be_left_out() {
        let style = Style {
            noheadings: true,
            bytes: true,
            ..Style::default()
        };
        assert!(shown(&style).starts_with("abuse0  1073741824 0 /mnt/a b\n"));
    }

    #[test]
    fn raw_is_one_line_per_device_whatever_the_names_are() {
        let style = Style {
            raw: true,
            ..Style::default()
        };
        assert_eq!(
            shown(&style),
            "NAME SIZE RO MOUNTPOINTS\nabuse0 1G 0 /mnt/a\\x20b\\x0a[SWAP]\nabuse10  1 \n"
        );
    }

    #[test]
    fn json_has_numbers_booleans_and_the_order_of_the_columns() {
        let text = shown(&Style {
            json: true,
            ..Style::default()
        });
        let value: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value["devices"][0]["size"], 1 << 30);
        assert_eq!(value["devices"][0]["ro"], false);
        assert_eq!(value["devices"][1]["size"], Value::Null);
        assert_eq!(value["devices"][1]["mountpoints"], serde_json::json!([]));
        let order: Vec<_> = ["\"name\"", "\"size\"", "\"ro\"", "\"mountpoints\""]
            .map(|key| text.find(key))
            .to_vec();
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn seconds_carry_no_noise() {
        let json = Cell::Age(Duration::from_nanos(1_234_567_890)).json();
        assert_eq!(json.to_string(), "1.23456789");
    }

    #[test]
    fn columns_are_replaced_added_and_refused() {
        let usual = ["NAME", "SIZE"];
        assert_eq!(choose(None, ALL, &usual), Ok(vec![0, 1]));
        assert_eq!(choose(Some("ro,name"), ALL, &usual), Ok(vec![2, 0]));
        assert_eq!(choose(Some("+RO"), ALL, &usual), Ok(vec![0, 1, 2]));
        let error = choose(Some("SIZ"), ALL, &usual).expect_err("unknown");
        assert!(error.contains("did you mean 'SIZE'?"), "{error}");
    }
}
