//! A pipe in memory that cuts, blocks, and gives single bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    bytes: VecDeque<u8>,
    pub(super) is_closed: bool,
    /// Bytes that still pass before the lane is cut.
    pub(super) left: Option<usize>,
    /// Bytes that have passed.
    pub(super) passed: usize,
}

/// One end of a pipe that never blocks, and reads and writes as little as it likes.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) from: Rc<RefCell<Lane>>,
    pub(super) to: Rc<RefCell<Lane>>,
    random: u64,
    /// Most bytes of one read or write.
    most: usize,
    pub(super) is_blocked: bool,
}

impl Pipe {
    pub(super) fn pair(most: usize) -> (Self, Self) {
        let lanes: [Rc<RefCell<Lane>>; 2] = Default::default();
        let end = |from: usize, to: usize| Self {
            from: Rc::clone(&lanes[from]),
            to: Rc::clone(&lanes[to]),
            random: 0x9e37_79b9_7f4a_7c15 + from as u64,
            most,
            is_blocked: false,
        };
        (end(0, 1), end(1, 0))
    }

    /// How many bytes pass now; none: it would block. One in four tries does.
    fn share(&mut self) -> io::Result<usize> {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = usize::try_from(self.random >> 33).unwrap();
        match random % 4 {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 => Ok(1),
            _ => Ok(1 + random % self.most),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = self.share()?.min(bytes.len());
        let mut lane = self.from.borrow_mut();
        if lane.bytes.is_empty() {
            return if lane.is_closed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = most.min(lane.bytes.len());
        for (to, from) in bytes.iter_mut().zip(lane.bytes.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.share()?.min(bytes.len());
        let mut lane = self.to.borrow_mut();
        if lane.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = count.min(lane.left.unwrap_or(usize::MAX));
        lane.bytes.extend(&bytes[..count]);
        lane.passed += count;
        if let Some(left) = &mut lane.left {
            *left -= count;
            if *left == 0 {
                lane.is_closed = true;
                drop(lane);
                self.from.borrow_mut().is_closed = true;
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.from.borrow_mut().is_closed = true;
        self.to.borrow_mut().is_closed = true;
    }
}
