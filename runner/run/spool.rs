//! Events on disk until they are judged, so that a load that lasts for hours holds no more than one that lasts a
//! minute. The file has no name: it goes with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use crate::error::{Error, Result};
use crate::event::Entry;
use crate::journal;

/// Events, in the order in which they were noted.
#[derive(Debug)]
pub struct Spool {
    file: BufWriter<File>,
}

impl Spool {
    /// An empty one.
    ///
    /// # Errors
    /// No file can be made where temporary files go.
    pub fn new() -> Result<Self> {
        let folder = std::env::temp_dir();
        let failed = |error| {
            Error::environment(format!("could not make a temporary file in {}", folder.display()))
                .hint("set TMPDIR to a directory you can write to")
                .because(error)
        };
        let name = folder.join(format!("chaos-load-{}-{:016x}", std::process::id(), rand::random::<u64>()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name)
            .map_err(failed)?;
        std::fs::remove_file(&name).map_err(failed)?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Adds one.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).expect("events have text keys only");
        line.push(b'\n');
        self.file.write_all(&line).map_err(broken)
    }

    /// Gives all of them back.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn entries(self) -> Result<Vec<Entry>> {
        let mut file = self.file.into_inner().map_err(|error| broken(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        Ok(journal::read_from(BufReader::new(file), "the events of the load")?.entries)
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::environment("could not keep the events of the load on disk")
        .hint("set TMPDIR to a directory with more room")
        .because(error)
}
