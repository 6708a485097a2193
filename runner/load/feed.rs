//! Rows of data for templates: read from disk by a thread of their own, dealt to the threads that send.
//!
//! The file is read as it is needed, over and over, in its own order; memory holds [`BATCHES`] batches ahead
//! whatever its size. A sending thread never waits for the disk: it takes a batch that is there, or finds
//! none and the arrival that needed a row fails as `local: data`, which is the generator's fault and said so.
//! Each row goes to one arrival; with one sending thread, rows follow the arrivals that use them.
//! Start at [`Feed::start`]; the reading itself is in `rows.rs`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::rows::Rows;

/// Rows that change hands at once: seldom enough that handing over costs nothing, few enough to be fair to
/// several sending threads.
const BATCH_ROWS: usize = 64;

/// A batch is complete before that if its rows are large.
const BATCH_BYTES: usize = 256 << 10;

/// Batches that are read ahead: a thousand rows, a fifth of a second at 5,000/s; a disk that takes longer for
/// a few kilobytes can't keep up anyway.
const BATCHES: usize = 16;

/// One row: the columns that templates use, in the order of first use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Arc<[Box<str>]>);

impl Row {
    /// A row of these values.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        Self(values.into_iter().map(String::into_boxed_str).collect())
    }

    /// The value of a column.
    pub fn value(&self, column: usize) -> &str {
        self.0.get(column).map_or("", |value| value)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|value| value.len()).sum()
    }
}

/// A file being read. Cloned for each sending thread; when the last is dropped, reading ends.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    /// What this thread has taken and not dealt yet.
    taken: VecDeque<Row>,
}

#[derive(Debug)]
struct Shared {
    ahead: Mutex<Ahead>,
    /// Told when a batch was taken, and when nobody is left to take one.
    taken: Condvar,
    /// Told when a batch was read; only [`Feed::start`] waits for that.
    read: Condvar,
}

#[derive(Debug)]
struct Ahead {
    batches: VecDeque<VecDeque<Row>>,
    /// Who takes batches.
    takers: usize,
    /// Why there will be no more rows.
    fault: Option<String>,
}

impl Feed {
    /// Starts to read, and returns once rows are there. Fails where the first rows can't be read, and with an
    /// error of the operating system's where there can be no further thread.
    pub fn start(mut rows: Rows) -> Result<Self, String> {
        let ahead = Ahead { batches: VecDeque::new(), takers: 1, fault: None };
        let shared =
            Arc::new(Shared { ahead: Mutex::new(ahead), taken: Condvar::new(), read: Condvar::new() });
        // The first batch is read here: what is wrong with it is told before anything is sent.
        let first = batch(&mut rows)?;
        shared.ahead().batches.push_back(first);
        let reading = shared.clone();
        thread::Builder::new()
            .name("chaos-data".into())
            .spawn(move || reading.fill(rows))
            .map_err(|error| format!("could not start a thread: {error}"))?;
        Ok(Self { shared, taken: VecDeque::new() })
    }

    /// The next row; nothing if the file is not read that far yet, or can't be.
    pub fn deal(&mut self) -> Option<Row> {
        if self.taken.is_empty() {
            let mut ahead = self.shared.ahead();
            self.taken = ahead.batches.pop_front()?;
            drop(ahead);
            self.shared.taken.notify_one();
        }
        self.taken.pop_front()
    }

    /// Why there will be no more rows, if that is so: the file and line, and what is wrong with it.
    pub fn fault(&self) -> Option<String> {
        self.shared.ahead().fault.clone()
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        self.shared.ahead().takers += 1;
        Self { shared: self.shared.clone(), taken: VecDeque::new() }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.ahead().takers -= 1;
        self.shared.taken.notify_one();
    }
}

impl Shared {
    /// The lock is held to move a pointer, never while reading.
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().expect("nothing panics while it holds the rows")
    }

    /// Reads ahead until nobody takes any more, or no more can be read.
    fn fill(&self, mut rows: Rows) {
        loop {
            let ahead = self.ahead();
            let wait = |ahead: &mut Ahead| ahead.takers > 0 && ahead.batches.len() >= BATCHES;
            let ahead = self.taken.wait_while(ahead, wait).expect("nothing panics while it holds the rows");
            if ahead.takers == 0 {
                return;
            }
            drop(ahead);
            let batch = batch(&mut rows);
            let mut ahead = self.ahead();
            match batch {
                Ok(batch) => ahead.batches.push_back(batch),
                Err(fault) => ahead.fault = Some(fault),
            }
            let over = ahead.fault.is_some();
            drop(ahead);
            self.read.notify_all();
            if over {
                return;
            }
        }
    }
}

/// The next rows; from the top again where the file ends.
fn batch(rows: &mut Rows) -> Result<VecDeque<Row>, String> {
    let mut batch = VecDeque::with_capacity(BATCH_ROWS);
    let mut bytes = 0;
    while batch.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let row = rows.next_or_first()?;
        bytes += row.bytes();
        batch.push_back(row);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Data, Located};

    fn feed(text: &str) -> (tempfile::TempDir, Feed) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.csv").display().to_string();
        std::fs::write(&file, text).unwrap();
        let data = Data::Csv(Located { value: file, span: crate::error::Span::default() });
        let rows = Rows::open(&data, &["n".to_owned()]).unwrap();
        let feed = Feed::start(rows).unwrap();
        (folder, feed)
    }

    /// Waits, without a limit of its own, for what the reading thread is bound to do.
    fn deal(feed: &mut Feed) -> Result<String, String> {
        loop {
            if let Some(row) = feed.deal() {
                return Ok(row.value(0).to_owned());
            }
            let ahead = feed.shared.ahead();
            let wait = |ahead: &mut Ahead| ahead.batches.is_empty() && ahead.fault.is_none();
            let ahead = feed.shared.read.wait_while(ahead, wait).unwrap();
            if let (true, Some(fault)) = (ahead.batches.is_empty(), &ahead.fault) {
                return Err(fault.clone());
            }
        }
    }

    #[test]
    fn rows_come_in_order_over_and_over() {
        let rows: String = (0..1_000).map(|number| format!("{number}\n")).collect();
        let (_folder, mut feed) = feed(&format!("n\n{rows}"));
        for round in 0..3 {
            for number in 0..1_000 {
                assert_eq!(deal(&mut feed), Ok(number.to_string()), "in round {round}");
            }
        }
    }

    #[test]
    fn each_row_goes_to_one_taker() {
        let count = BATCH_ROWS * 4;
        let rows: String = (0..count).map(|number| format!("{number}\n")).collect();
        let (_folder, mut one) = feed(&format!("n\n{rows}"));
        let mut other = one.clone();
        let mut dealt: Vec<usize> = (0..count)
            .map(|turn| deal(if turn % 2 == 0 { &mut one } else { &mut other }))
            .map(|row| row.unwrap().parse().unwrap())
            .collect();
        dealt.sort_unstable();
        assert!(dealt.into_iter().eq(0..count), "each once in a round of the file");
    }

    #[test]
    fn memory_holds_a_few_batches_and_a_late_mistake_is_told() {
        let rows: String = (0..100_000).map(|number| format!("{number}\n")).collect();
        let (_folder, mut feed) = feed(&format!("n\n{rows}a,b\n"));
        for number in 0..100_000 {
            if number % 1_000 == 0 {
                assert!(feed.shared.ahead().batches.len() <= BATCHES);
            }
            let row = deal(&mut feed);
            if row.is_err() {
                // What stands in the batch of the mistake is not dealt either.
                assert!(number >= 100_000 - BATCH_ROWS, "{number}: {row:?}");
                break;
            }
        }
        let fault = feed.fault().expect("the last line is wrong");
        assert!(fault.contains("rows.csv:100002"), "{fault}");
    }

    #[test]
    fn reading_ends_with_the_last_taker() {
        let (_folder, feed) = feed("n\n1\n");
        let shared = Arc::downgrade(&feed.shared);
        let other = feed.clone();
        drop(feed);
        assert!(shared.upgrade().is_some());
        drop(other);
        // The reading thread lets go of its share when it ends.
        while shared.upgrade().is_some() {
            thread::yield_now();
        }
    }
}
