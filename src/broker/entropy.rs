//! Random bytes for ids and tokens.

use crate::mesh::Entropy;

/// Bytes asked of the system at once. A message takes 16, so that one in 256 costs a system call.
const BATCH_BYTES: usize = 4096;

/// The system's random bytes, bought in bulk.
///
/// Bytes that were given out are wiped here, so that a token made an hour ago cannot be read from
/// the buffer; the tokens that live on are in memory only as hashes.
pub(super) struct SystemEntropy {
    batch: Box<[u8]>,
    /// Bytes of the batch not given out: its first ones.
    left: usize,
}

impl SystemEntropy {
    /// Gets the first batch, so that a system without random bytes is noticed at the start.
    ///
    /// # Errors
    /// The system has none.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut entropy = Self { batch: vec![0; BATCH_BYTES].into_boxed_slice(), left: 0 };
        entropy.refill()?;
        Ok(entropy)
    }

    fn refill(&mut self) -> Result<(), getrandom::Error> {
        getrandom::fill(&mut self.batch)?;
        self.left = self.batch.len();
        Ok(())
    }

    fn take(&mut self, bytes: &mut [u8]) {
        let start = self.left - bytes.len();
        if let Some(source) = self.batch.get_mut(start..self.left) {
            bytes.copy_from_slice(source);
            source.fill(0);
        }
        self.left = start;
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(BATCH_BYTES) {
            if self.left < part.len() && self.refill().is_err() {
                // getrandom(2) cannot fail once it has worked (random(7)). Ids that can be guessed
                // or that come twice would be worse than no broker.
                std::process::abort();
            }
            self.take(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let mut entropy = SystemEntropy::new().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            let mut bytes = [0; 16];
            entropy.fill(&mut bytes);
            assert!(seen.insert(bytes));
        }
    }

    #[test]
    fn any_length_will_do() {
        let mut entropy = SystemEntropy::new().unwrap();
        for length in [0, 1, 15, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 3 * BATCH_BYTES] {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            // 32 zeroes in a row would be one chance in 2^256.
            assert!(bytes.chunks_exact(32).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
        }
    }

    #[test]
    fn bytes_given_out_are_wiped() {
        let mut entropy = SystemEntropy::new().unwrap();
        entropy.fill(&mut [0; 64]);
        assert_eq!(entropy.left, BATCH_BYTES - 64);
        assert!(entropy.batch[entropy.left..].iter().all(|byte| *byte == 0));
    }
}
