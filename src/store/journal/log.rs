//! The file of the journal: a head, and then records, each written in one piece.
//!
//! ```text
//! head    8  "slmturns"
//!         4  version of the format
//!         4  CRC-32C of the version and what follows
//!         8  which database it belongs to
//!         8  salt: random, another one for each use of the file
//!         8  number of the first record
//! record  4  length of the body; 0: no record
//!         4  CRC-32C of salt, length, number and body
//!         8  number, one above that of the record before
//!         n  body
//! ```
//!
//! All numbers are little-endian. Once the database has everything that is in it, the file is used
//! again from its beginning, and not made shorter: what is left of its former use has another salt,
//! so that it ends the records as a torn one does.

use std::io;
use std::ops::RangeInclusive;

use super::Position;
use super::crc::crc32c;

/// The version of the format that this program writes. It reads all up to it.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"slmturns";
pub(super) const HEAD_BYTES: usize = 40;
const FRAME_BYTES: usize = 16;

/// How long the file stays for its next use.
const KEPT_BYTES: u64 = 2 * 1024 * 1024;

/// What a journal is kept in.
pub trait Medium {
    /// All of it.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes bytes at an offset, which may be beyond the end.
    ///
    /// # Errors
    /// Some of it may not be written, and any part of it may be.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// It may not be there.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it off.
    ///
    /// # Errors
    /// It is as long as before.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// The head of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    version: u32,
    journal: u64,
    salt: u64,
    first: u64,
}

impl Head {
    fn encode(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let crc = self.checksum().to_le_bytes();
        let fields = MAGIC
            .iter()
            .copied()
            .chain(self.version.to_le_bytes())
            .chain(crc)
            .chain(self.rest().into_iter().flatten());
        for (byte, value) in bytes.iter_mut().zip(fields) {
            *byte = value;
        }
        bytes
    }

    fn rest(self) -> [[u8; 8]; 3] {
        [self.journal, self.salt, self.first].map(u64::to_le_bytes)
    }

    fn checksum(self) -> u32 {
        let version = crc32c(0, &self.version.to_le_bytes());
        self.rest().iter().fold(version, |crc, field| crc32c(crc, field))
    }

    /// None if there is none, or not whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (journal, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let first = rest.first_chunk()?;
        let [journal, salt, first] = [journal, salt, first].map(|field| u64::from_le_bytes(*field));
        let head = Self { version: u32::from_le_bytes(*version), journal, salt, first };
        (head.checksum() == u32::from_le_bytes(*crc)).then_some(head)
    }

    /// What the checksums of records begin with.
    fn seed(self) -> u32 {
        crc32c(0, &self.salt.to_le_bytes())
    }
}

fn checksum(seed: u32, len: [u8; 4], number: [u8; 8], body: &[u8]) -> u32 {
    crc32c(crc32c(crc32c(seed, &len), &number), body)
}

/// A record: its number and its body.
type Record<'a> = (u64, &'a [u8]);

/// The records in the bytes behind a head, up to the first that is torn. One that is damaged and that
/// the database has is passed over.
#[derive(Debug)]
struct Records<'a> {
    bytes: &'a [u8],
    seed: u32,
    next: u64,
    /// The last record that the database has.
    settled: u64,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8], head: Head, settled: u64) -> Self {
        let bytes = bytes.get(HEAD_BYTES..).unwrap_or_default();
        Self { bytes, seed: head.seed(), next: head.first, settled }
    }

    /// The record that stands here, if it is the next, and what is behind it.
    fn here(&self) -> Option<(Record<'a>, &'a [u8])> {
        let (len, rest) = self.bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let body_bytes = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (body, rest) = rest.split_at_checked(body_bytes)?;
        let is_next = !body.is_empty() && u64::from_le_bytes(*number) == self.next;
        let is_whole = checksum(self.seed, *len, *number, body) == u32::from_le_bytes(*crc);
        (is_next && is_whole).then_some(((self.next, body), rest))
    }

    /// The records from the first one on that has one of these numbers and stands behind what cannot
    /// be read here.
    fn behind_damage(&self, numbers: RangeInclusive<u64>) -> Option<Self> {
        (1..self.bytes.len()).find_map(|start| {
            let bytes = self.bytes.get(start..)?;
            let next = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
            let records = Self { bytes, next, ..*self };
            (numbers.contains(&next) && records.here().is_some()).then_some(records)
        })
    }

    /// Whether a record that the database lacks stands behind what cannot be read here: then that is
    /// not the torn end.
    fn go_on(&self) -> bool {
        let first = self.next.max(self.settled).saturating_add(1);
        self.behind_damage(first..=first.saturating_add(self.bytes.len() as u64)).is_some()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.next <= self.settled && self.here().is_none() {
            *self = self.behind_damage(self.next + 1..=self.settled.saturating_add(1))?;
        }
        let (record, rest) = self.here()?;
        self.bytes = rest;
        self.next += 1;
        Some(record)
    }
}

/// What a journal is found to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It goes on where the database ends, or there is nothing in it that the database lacks.
    Sound,
    /// It belongs to another database.
    Foreign,
    /// It is of no use to this database: why.
    Useless(&'static str),
    /// Records of this database may have been lost from it: why.
    Damaged(&'static str),
    /// A newer program wrote it.
    Newer(u32),
}

/// Why a record was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing of it is kept.
    Refused(io::Error),
    /// It was written, and could not be brought to the disk.
    Unsure(io::Error),
}

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Log<M> {
    medium: M,
    head: Head,
    /// The head stands in the medium: else it is written with the next record.
    begun: bool,
    /// Where the next record goes.
    tail: u64,
    /// The number of the last record.
    last: u64,
    /// Each record is brought to the disk.
    sync: bool,
    /// What is written is put together here.
    buffer: Vec<u8>,
}

impl<M: Medium> Log<M> {
    /// Looks at a journal of the database that calls it `journal` and has all records up to `record`.
    /// Whatever is found, it can go on behind the last record that can be read, once it is
    /// [cut off](Self::cut_off) there. Until then it is as it was.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn open(
        mut medium: M,
        Position { journal, record }: Position,
        sync: bool,
    ) -> io::Result<(Self, Found)> {
        let bytes = medium.read()?;
        let head = Head { version: VERSION, journal, salt: 0, first: 0 };
        let mut log =
            Self { medium, head, begun: false, tail: 0, last: record, sync, buffer: Vec::new() };
        let Some(head) = Head::decode(&bytes) else {
            let found = if !bytes.starts_with(MAGIC) && !MAGIC.starts_with(&bytes) {
                Found::Useless("no journal")
            } else if bytes.len() < HEAD_BYTES {
                // One that is cut off was to be followed by the first record of all.
                Found::Sound
            } else {
                // A head is so short that a disk keeps all of it or nothing.
                Found::Damaged("its head is damaged")
            };
            return Ok((log, found));
        };
        if head.version > VERSION {
            return Ok((log, Found::Newer(head.version)));
        }
        if head.journal != journal {
            return Ok((log, Found::Foreign));
        }
        let mut records = Records::new(&bytes, head, record);
        let last = records.by_ref().last().map_or(0, |(number, _)| number);
        if last > record {
            if head.first > record.saturating_add(1) {
                return Ok((log, Found::Useless("the database lacks what came before")));
            }
            log.head = head;
            log.begun = true;
            log.tail = (bytes.len() - records.bytes.len()) as u64;
            log.last = last;
        }
        let found = if records.go_on() {
            Found::Damaged("a record in the middle of it is damaged")
        } else {
            Found::Sound
        };
        Ok((log, found))
    }

    /// Removes what stands behind the last record: it may be a whole one, beyond one that was torn.
    ///
    /// # Errors
    /// It is still there.
    pub(super) fn cut_off(&mut self) -> io::Result<()> {
        self.medium.cut(self.tail)
    }

    /// Which journal it is, for the database.
    pub(super) fn journal(&self) -> u64 {
        self.head.journal
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of records that the database may lack.
    pub(super) fn len(&self) -> u64 {
        self.tail
    }

    /// Appends a record, which has a number one above the last, then.
    pub(super) fn append(&mut self, body: &[u8]) -> Result<(), AppendError> {
        let too_long = |_| AppendError::Refused(io::ErrorKind::FileTooLarge.into());
        let len = u32::try_from(body.len()).map_err(too_long)?.to_le_bytes();
        let number = self.last + 1;
        self.buffer.clear();
        let mut head = self.head;
        if !self.begun {
            let salt = salt().map_err(AppendError::Refused)?;
            head = Head { version: VERSION, salt, first: number, ..head };
            self.buffer.extend_from_slice(&head.encode());
        }
        let frame = self.buffer.len();
        let number_bytes = number.to_le_bytes();
        self.buffer.extend_from_slice(&len);
        let crc = checksum(head.seed(), len, number_bytes, body);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(&number_bytes);
        self.buffer.extend_from_slice(body);
        let start = self.tail + frame as u64;
        if let Err(error) = self.medium.write_at(&self.buffer, self.tail) {
            // A part of a head would be taken for a damaged one. What stood there is settled.
            if self.begun || self.medium.cut(0).is_err() {
                self.blot_out(start);
            }
            return Err(AppendError::Refused(error));
        }
        self.head = head;
        self.begun = true;
        self.tail += self.buffer.len() as u64;
        self.last = number;
        if self.sync
            && let Err(error) = self.medium.sync()
        {
            self.take_back(start);
            return Err(AppendError::Unsure(error));
        }
        Ok(())
    }

    /// Takes the last record back, which nobody was told of.
    pub(super) fn take_back_last(&mut self, body_bytes: usize) {
        self.take_back(self.tail.saturating_sub((FRAME_BYTES + body_bytes) as u64));
    }

    fn take_back(&mut self, start: u64) {
        self.tail = start;
        self.last -= 1;
        self.blot_out(start);
    }

    /// Sees to it that no record is found at `start`, or what is left of one completed by what stood
    /// there before. Its place is there already, so this takes no room.
    fn blot_out(&mut self, start: u64) {
        if self.medium.write_at(&[0; 4], start).is_err() {
            let _ = self.medium.cut(start);
        }
    }

    /// The database has everything: what comes next is written from the beginning on.
    pub(super) fn begin_anew(&mut self) {
        if self.tail > KEPT_BYTES {
            // If not, it only takes more room.
            let _ = self.medium.cut(KEPT_BYTES);
        }
        self.begun = false;
        self.tail = 0;
    }

    /// Hands out the records above `record`, in order.
    ///
    /// # Errors
    /// Those of `each`, and `missing` if a record cannot be read any more.
    pub(super) fn each_after<E>(
        &mut self,
        record: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
        missing: impl FnOnce(String) -> E,
    ) -> Result<(), E> {
        if self.last <= record {
            return Ok(());
        }
        let bytes = match self.medium.read() {
            Ok(bytes) => bytes,
            Err(error) => return Err(missing(error.to_string())),
        };
        let mut done = record;
        for (number, body) in Records::new(&bytes, self.head, record) {
            if number > self.last {
                break;
            }
            if number == done + 1 {
                each(number, body)?;
                done = number;
            }
        }
        if done < self.last {
            return Err(missing(format!("record {} is not there", done + 1)));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn medium(&self) -> &M {
        &self.medium
    }

    pub(super) fn into_medium(self) -> M {
        self.medium
    }
}

fn salt() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes))
}
