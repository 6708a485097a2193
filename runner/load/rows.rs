//! Reading rows from CSV and JSONL files, one at a time, in bounded memory.
//!
//! Mistakes are told as `FILE:LINE: what`, with the file as the experiment names it. Start at [`Rows::open`];
//! [`check`] looks at the first rows of an experiment's files before anything runs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::feed::Row;
use crate::error::Problem;
use crate::spec::template::{Known, Part, Value, parts};
use crate::spec::{Auth, Data, Experiment, Load};

/// The longest row: what thousands of them read ahead may take is bounded by it.
pub const MAX_ROW_BYTES: usize = 64 << 10;

/// How many rows are looked at before anything runs; what is wrong further down shows when it is reached.
const CHECKED_ROWS: usize = 1_000;

/// A file of rows, being read.
#[derive(Debug)]
pub struct Rows {
    /// The file as the experiment names it.
    file: String,
    columns: Vec<String>,
    form: Form,
    /// A row was read since the top.
    any: bool,
}

#[derive(Debug)]
enum Form {
    /// With the place of each column that is used.
    Csv(Box<csv::Reader<Metered>>, Vec<usize>, csv::StringRecord),
    /// With the number of the line read last.
    Jsonl(BufReader<File>, u64, Vec<u8>),
}

/// Reads no more than a row may be long before somebody says that a row was complete.
#[derive(Debug)]
struct Metered {
    file: File,
    left: usize,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!("the row is longer than {MAX_ROW_BYTES} bytes")));
        }
        let most = buffer.len().min(self.left);
        let read = self.file.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Rows {
    /// Opens a file to read these columns of it. Fails, naming the file, where it can't be read or a column
    /// is missing.
    pub fn open(data: &Data, columns: &[String]) -> Result<Self, String> {
        let (Data::Csv(file) | Data::Jsonl(file)) = data;
        let name = file.value.clone();
        let opened = File::open(&name).and_then(|file| {
            // A folder opens and can't be read; a pipe would be waited for and can't be read twice.
            let kind = file.metadata()?;
            if kind.is_file() { Ok(file) } else { Err(io::Error::other("not a file")) }
        });
        let opened = opened.map_err(|error| format!("could not read `{name}`: {error}"))?;
        let form = match data {
            Data::Csv(_) => {
                let metered = Metered { file: opened, left: MAX_ROW_BYTES };
                let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(metered);
                let found = reader.headers().map_err(|error| mistake_of(&name, &error))?.clone();
                if found.is_empty() {
                    return Err(format!("`{name}` is empty; its first line names the columns"));
                }
                let place = |column: &String| {
                    found.iter().position(|found| found == column).ok_or_else(|| {
                        let found: Vec<_> = found.iter().map(|found| format!("`{found}`")).collect();
                        format!("{name}:1: there is no column `{column}`; there are {}", found.join(", "))
                    })
                };
                let places = columns.iter().map(place).collect::<Result<_, _>>()?;
                Form::Csv(Box::new(reader), places, csv::StringRecord::new())
            }
            Data::Jsonl(_) => Form::Jsonl(BufReader::new(opened), 0, Vec::new()),
        };
        Ok(Self { file: name, columns: columns.to_vec(), form, any: false })
    }

    /// The next row, nothing at the file's end. Fails where the row can't be read or lacks a column.
    pub fn next_row(&mut self) -> Result<Option<Row>, String> {
        let row = match &mut self.form {
            Form::Csv(reader, places, record) => {
                // What is in the reader's own buffer is read already.
                reader.get_mut().left = MAX_ROW_BYTES;
                let there = reader.read_record(record).map_err(|error| mistake_of(&self.file, &error))?;
                there.then(|| Row::new(places.iter().map(|place| record[*place].to_owned())))
            }
            Form::Jsonl(reader, number, line) => loop {
                line.clear();
                *number += 1;
                let wrong = |why: &str| format!("{}:{number}: {why}", self.file);
                let mut bounded = reader.take(MAX_ROW_BYTES as u64 + 1);
                let read = bounded.read_until(b'\n', line).map_err(|error| wrong(&error.to_string()))?;
                if read == 0 {
                    break None;
                }
                if read > MAX_ROW_BYTES {
                    return Err(wrong(&format!("the row is longer than {MAX_ROW_BYTES} bytes")));
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let row: serde_json::Value =
                    serde_json::from_slice(line).map_err(|error| wrong(&format!("not JSON: {error}")))?;
                break Some(object_row(&row, &self.columns).map_err(|why| wrong(&why))?);
            },
        };
        self.any |= row.is_some();
        Ok(row)
    }

    /// The next row, from the top again where the file ends. Fails also where there are no rows at all.
    pub fn next_or_first(&mut self) -> Result<Row, String> {
        if let Some(row) = self.next_row()? {
            return Ok(row);
        }
        if !self.any {
            return Err(format!("`{}` has no rows", self.file));
        }
        self.any = false;
        let unreadable = |file: &str, error: io::Error| format!("could not read `{file}` again: {error}");
        match &mut self.form {
            Form::Csv(reader, ..) => {
                reader.get_mut().left = MAX_ROW_BYTES;
                reader
                    .seek_raw(io::SeekFrom::Start(0), csv::Position::new())
                    .map_err(|error| mistake_of(&self.file, &error))?;
                // After a seek the first line counts as a row.
                let mut names = csv::StringRecord::new();
                reader.read_record(&mut names).map_err(|error| mistake_of(&self.file, &error))?;
            }
            Form::Jsonl(reader, number, _) => {
                *number = 0;
                reader.rewind().map_err(|error| unreadable(&self.file, error))?;
            }
        }
        self.next_row()?.ok_or_else(|| format!("`{}` has no rows any more", self.file))
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The columns of an object; `home.city` is `city` in `home`.
fn object_row(row: &serde_json::Value, columns: &[String]) -> Result<Row, String> {
    if !row.is_object() {
        return Err("a row must be a JSON object, as `{\"email\": \"a@example.org\"}`".into());
    }
    let value = |column: &String| {
        let found = column.split('.').try_fold(row, |value, name| value.get(name));
        match found {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
            None => Err(format!("there is no `{column}` in this row")),
        }
    };
    Ok(Row::new(columns.iter().map(value).collect::<Result<Vec<_>, _>>()?))
}

/// What is wrong with a CSV file, and where.
fn mistake_of(file: &str, error: &csv::Error) -> String {
    let line = |position: Option<&csv::Position>| position.map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("{file}:{}: {len} of {expected_len} columns", line(pos.as_ref()))
        }
        csv::ErrorKind::Utf8 { pos, .. } => format!("{file}:{}: not UTF-8", line(pos.as_ref())),
        csv::ErrorKind::Io(error) => format!("{file}: {error}"),
        _ => format!("{file}:{}: {error}", line(error.position())),
    }
}

/// Finds the files of rows that `experiment` names, whose paths count from `folder` and become such as can be
/// opened from here, and looks at the first thousand rows of each. Says what is wrong, each where the file is
/// named.
pub fn find(experiment: &mut Experiment, folder: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (_, load) in &mut experiment.load.0 {
        let used: Vec<_> = load.data.names().map(|name| columns_used(load, name)).collect();
        for ((_, data), columns) in load.data.0.iter_mut().zip(used) {
            let (Data::Csv(file) | Data::Jsonl(file)) = data;
            file.value = folder.join(&file.value).display().to_string();
            let span = file.span;
            if let Err(message) = check_file(data, &columns) {
                let hint = "paths count from the experiment's own file".to_owned();
                problems.push(Problem { span, message, hint: Some(hint) });
            }
        }
    }
    problems
}

fn check_file(data: &Data, columns: &[String]) -> Result<(), String> {
    let mut rows = Rows::open(data, columns)?;
    rows.next_or_first()?;
    for _ in 1..CHECKED_ROWS {
        if rows.next_row()?.is_none() {
            break;
        }
    }
    Ok(())
}

/// The columns of data `name` that the texts of a load use, each once.
fn columns_used(load: &Load, name: &str) -> Vec<String> {
    let mut columns = Vec::new();
    let known = Known { data: vec![name], extracted: Vec::new() };
    let mut look = |text: &str| {
        for part in parts(text, &known).into_iter().flatten() {
            if let Part::Value(Value::Column { column, .. }) = part
                && !columns.contains(&column)
            {
                columns.push(column);
            }
        }
    };
    let bearer = |auth: &Option<Auth>| match auth {
        Some(Auth::Bearer(token)) => Some(token.reveal().to_owned()),
        _ => None,
    };
    load.headers.values().for_each(|value| look(value));
    bearer(&load.auth).iter().for_each(|token| look(token));
    for request in load.sent() {
        request.method_and_url().iter().for_each(|(_, url)| look(url));
        request.headers.values().for_each(|value| look(value));
        bearer(&request.auth).iter().for_each(|token| look(token));
        request.body.iter().for_each(|body| look(body));
        request.json.iter().for_each(|json| look(&json.value.to_string()));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Located;

    fn located(text: &str) -> Located<String> {
        Located { value: text.into(), span: crate::error::Span::default() }
    }

    /// The same kind of data, in this folder.
    fn within(data: &Data, folder: &Path) -> Data {
        let path = |file: &Located<String>| located(&folder.join(&file.value).display().to_string());
        match data {
            Data::Csv(file) => Data::Csv(path(file)),
            Data::Jsonl(file) => Data::Jsonl(path(file)),
        }
    }

    /// All rows of a file of this text, with `|` between columns.
    fn read(data: &Data, text: &[u8], columns: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let data = within(data, folder.path());
        let (Data::Csv(file) | Data::Jsonl(file)) = &data;
        std::fs::write(&file.value, text).unwrap();
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let plain = |error: String| error.replace(&format!("{}/", folder.path().display()), "");
        let mut rows = Rows::open(&data, &columns).map_err(plain)?;
        let mut all = vec![rows.next_or_first().map_err(plain)?];
        while let Some(row) = rows.next_row().map_err(plain)? {
            all.push(row);
        }
        // From the top again.
        assert_eq!(rows.next_or_first().as_ref(), Ok(&all[0]));
        let text =
            |row: &Row| (0..columns.len()).map(|column| row.value(column)).collect::<Vec<_>>().join("|");
        Ok(all.iter().map(text).collect())
    }

    #[test]
    fn rows_are_read() {
        let (csv, jsonl) = (Data::Csv(located("u.csv")), Data::Jsonl(located("u.jsonl")));
        let rows = read(&csv, b"id, mail\r\n1,a@b\r\n\"2\",\"x,\"\"y\"\"\nz\"\n", &["mail", "id"]);
        assert_eq!(rows.unwrap(), ["a@b|1", "x,\"y\"\nz|2"]);
        let text = b"{\"id\": 1, \"home\": {\"city\": \"Ulm\"}}\n\n{\"id\": null, \"home\": {\"city\": [1]}, \"x\": 0}";
        assert_eq!(read(&jsonl, text, &["id", "home.city"]).unwrap(), ["1|Ulm", "null|[1]"]);
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let (csv, jsonl) = (Data::Csv(located("u.csv")), Data::Jsonl(located("u.jsonl")));
        let long = format!("a\n{}\n", "x".repeat(3 * MAX_ROW_BYTES));
        let quoted = format!("a\n\"{}", "x\n".repeat(2 * MAX_ROW_BYTES));
        for (data, text, columns, expected) in [
            (&csv, &b"a,b\n1,2\n3\n"[..], &["a"][..], "u.csv:3: 1 of 2 columns"),
            (&csv, b"a,b\n1,2\n", &["c"], "u.csv:1: there is no column `c`; there are `a`, `b`"),
            (&csv, b"a\n1\n\xff\n", &["a"], "u.csv:3: not UTF-8"),
            (&csv, b"a\n", &["a"], "`u.csv` has no rows"),
            (&csv, b"", &[], "`u.csv` is empty"),
            (&csv, long.as_bytes(), &["a"], "u.csv: the row is longer than 65536 bytes"),
            (&csv, quoted.as_bytes(), &["a"], "u.csv: the row is longer than 65536 bytes"),
            (&jsonl, b"{\"a\":1}\n{a}\n", &["a"], "u.jsonl:2: not JSON"),
            (&jsonl, b"{\"a\":1}\n\n[1]\n", &["a"], "u.jsonl:3: a row must be a JSON object"),
            (&jsonl, b"{\"a\":1}\n{\"b\":1}\n", &["a"], "u.jsonl:2: there is no `a` in this row"),
            (&jsonl, b"\n\n", &["a"], "`u.jsonl` has no rows"),
            (&jsonl, long.as_bytes(), &["a"], "u.jsonl:1: not JSON"),
            (&jsonl, &long.as_bytes()[2..], &["a"], "u.jsonl:1: the row is longer than 65536 bytes"),
        ] {
            let error = read(data, text, columns).expect_err(expected);
            assert!(error.starts_with(expected), "{error}\ninstead of {expected}");
        }
        let error = Rows::open(&csv, &[]).expect_err("there is no such folder");
        assert!(error.starts_with("could not read `u.csv`: No such file"), "{error}");
        let error = Rows::open(&Data::Csv(located("/")), &[]).expect_err("a folder is no file");
        assert!(error.contains("not a file"), "{error}");
    }
}
