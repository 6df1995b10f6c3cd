//! Reads a history file, one frame at a time, so that memory does not grow with the run.
//!
//! A frame that ends before its length says so was cut off by a crash: the history ends there, and [`HistoryFile::cut`]
//! says where. Anything else that is not as the recorder writes it is an error that names the file and the byte.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use crate::{
    history::{
        event::{Event, HISTORY_FORMAT},
        fold::Fold,
        index::Cut,
        index::History,
    },
    plan::Plan,
};

/// Longest frame that is believed. The recorder writes 4,096 events a frame, a few hundred bytes each at the very most;
/// a longer one is a corrupt length, and would otherwise be an allocation of up to 4 GiB.
const FRAME_MAX_BYTES: u32 = 64 << 20;
/// Longest first line that is believed.
const HEADER_MAX_BYTES: u64 = 64;

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be opened or read.
    #[error("failed to read the history {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not begin as a history does.
    #[error("{path} is not a history: it does not begin with `squall-history`")]
    NotAHistory {
        /// The file.
        path: String,
    },
    /// It was written by another version of squall.
    #[error(
        "{path} has history format {found}, this squall reads format {HISTORY_FORMAT}: use the squall that wrote it"
    )]
    Version {
        /// The file.
        path: String,
        /// The version it states.
        found: String,
    },
    /// Bytes that no recorder wrote.
    #[error("{path} is corrupt at byte {at_byte}: {why}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where the bad frame begins.
        at_byte: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// The events of a history file, in file order.
#[derive(Debug)]
pub struct HistoryFile {
    path: String,
    file: BufReader<File>,
    at_byte: u64,
    /// The current frame, reversed, so that `pop` yields file order.
    frame: Vec<Event>,
    body: Vec<u8>,
    cut: Option<Cut>,
    ended: bool,
}

impl HistoryFile {
    /// Opens a history and checks its first line.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] when there is none, or it is of another version.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let shown = path.display().to_string();
        let failed = |source| HistoryError::Read { path: shown.clone(), source };
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
        let mut header = Vec::new();
        let read = (&mut file).take(HEADER_MAX_BYTES).read_until(b'\n', &mut header).map_err(failed)?;
        let text = String::from_utf8_lossy(&header);
        match text.strip_prefix("squall-history ").and_then(|rest| rest.strip_suffix('\n')) {
            None => return Err(HistoryError::NotAHistory { path: shown }),
            Some(version) if version.parse() == Ok(HISTORY_FORMAT) => {}
            Some(version) => return Err(HistoryError::Version { path: shown, found: version.to_owned() }),
        }
        Ok(Self {
            path: shown,
            file,
            at_byte: read as u64,
            frame: Vec::new(),
            body: Vec::new(),
            cut: None,
            ended: false,
        })
    }

    /// Where the history was cut off, if it was; known once the iterator has ended.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Reads the next frame into `self.frame`; false at the end.
    fn next_frame(&mut self) -> Result<bool, HistoryError> {
        let mut head = [0_u8; 8];
        let got = self.fill_head(&mut head)?;
        if got < head.len() {
            return Ok(self.end(got as u64));
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length == 0 || length > FRAME_MAX_BYTES {
            return Err(self.corrupt(format!("a frame of {length} bytes")));
        }
        self.body.clear();
        let read = (&mut self.file).take(u64::from(length)).read_to_end(&mut self.body);
        let got = read.map_err(|source| HistoryError::Read { path: self.path.clone(), source })? as u64;
        if got < u64::from(length) {
            return Ok(self.end(8 + got));
        }
        if crc32fast::hash(&self.body) != crc {
            return Err(self.corrupt("the checksum of the frame is wrong".to_owned()));
        }
        match postcard::take_from_bytes::<Vec<Event>>(&self.body) {
            Ok((events, [])) => self.frame = events,
            Ok((_, rest)) => {
                let why = format!("{} bytes after the last event of the frame", rest.len());
                return Err(self.corrupt(why));
            }
            Err(error) => return Err(self.corrupt(format!("the frame holds no events: {error}"))),
        }
        self.frame.reverse();
        self.at_byte += 8 + u64::from(length);
        Ok(true)
    }

    fn fill_head(&mut self, head: &mut [u8; 8]) -> Result<usize, HistoryError> {
        let mut got = 0;
        while got < head.len() {
            match self.file.read(&mut head[got..]) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(HistoryError::Read { path: self.path.clone(), source }),
            }
        }
        Ok(got)
    }

    fn end(&mut self, left_over: u64) -> bool {
        self.ended = true;
        if left_over > 0 {
            self.cut = Some(Cut { at_byte: self.at_byte, bytes: left_over });
        }
        false
    }

    fn corrupt(&mut self, why: String) -> HistoryError {
        self.ended = true;
        HistoryError::Corrupt { path: self.path.clone(), at_byte: self.at_byte, why }
    }
}

impl Iterator for HistoryFile {
    type Item = Result<Event, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.frame.pop() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.next_frame() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl History {
    /// Reads a history file into columns.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] when the file is not a whole history of this version; a cut tail is no error.
    pub fn read(plan: &Plan, path: &Path) -> Result<Self, HistoryError> {
        let mut file = HistoryFile::open(path)?;
        let mut fold = Fold::new(plan);
        for event in file.by_ref() {
            fold.push(event?);
        }
        Ok(fold.finish(file.cut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        history::{EventKind, HistoryWriter, Phase},
    };

    /// A recorded file of `events` notes, as the recorder writes it.
    fn recorded(dir: &Path, events: u32) -> std::path::PathBuf {
        let path = dir.join("history");
        let (recorder, writer) = HistoryWriter::create(&path, Clock::start()).unwrap();
        for message in 0..events {
            recorder.record(EventKind::Sent { message });
        }
        recorder.record(EventKind::Phase(Phase::Read));
        drop(recorder);
        writer.finish().unwrap();
        path
    }

    #[test]
    fn what_was_recorded_is_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path(), 10_000);
        let mut file = HistoryFile::open(&path).unwrap();
        let events: Vec<_> = file.by_ref().map(Result::unwrap).collect();
        assert_eq!(events.len(), 10_001);
        assert_eq!(events[7_000].what, EventKind::Sent { message: 7_000 });
        assert_eq!(file.cut(), None);
    }

    #[test]
    fn a_torn_tail_ends_the_history_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path(), 10_000);
        let whole = std::fs::read(&path).unwrap();
        for cut_off in [1, 9, 100] {
            std::fs::write(&path, &whole[..whole.len() - cut_off]).unwrap();
            let mut file = HistoryFile::open(&path).unwrap();
            assert!(file.by_ref().all(|event| event.is_ok()));
            let cut = file.cut().expect("cut");
            assert_eq!(cut.at_byte + cut.bytes, (whole.len() - cut_off) as u64);
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error_that_names_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path(), 100);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = "squall-history 1\n".len();
        bytes[header + 20] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let error = HistoryFile::open(&path).unwrap().find_map(Result::err).expect("an error");
        assert!(error.to_string().contains(&format!("corrupt at byte {header}: the checksum")), "{error}");
    }

    #[test]
    fn another_version_and_another_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        std::fs::write(&path, "squall-history 99\n").unwrap();
        assert!(matches!(HistoryFile::open(&path), Err(HistoryError::Version { .. })));
        std::fs::write(&path, "GIF89a").unwrap();
        assert!(matches!(HistoryFile::open(&path), Err(HistoryError::NotAHistory { .. })));
        assert!(matches!(HistoryFile::open(&dir.path().join("none")), Err(HistoryError::Read { .. })));
    }
}
