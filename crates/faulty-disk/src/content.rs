//! The bytes of a file, in chunks that copies share until one of them is written.
//!
//! A disk holds every file twice (seen and durable), and a test takes a snapshot of it thousands of times: sharing makes
//! a sync cost what was written and a snapshot next to nothing.

use std::sync::Arc;

/// Bytes in a chunk: a page of SQLite's, so that writing one copies at most one or two.
const CHUNK_BYTES: usize = 4096;

type Chunk = [u8; CHUNK_BYTES];

/// Invariant: there are as many chunks as `len` needs, and what lies in the last one beyond `len` is zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    len: usize,
    chunks: Vec<Arc<Chunk>>,
}

impl Content {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Reads as much as there is into the front of `into`; how much that was.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let count = into.len().min(self.len.saturating_sub(offset));
        let mut done = 0;
        while done < count {
            let (chunk, from) = place(offset + done);
            let part = (CHUNK_BYTES - from).min(count - done);
            into[done..done + part].copy_from_slice(&self.chunks[chunk][from..from + part]);
            done += part;
        }
        count
    }

    /// Writes all of `bytes`; a gap before them is filled with zeros.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if offset + bytes.len() > self.len {
            self.resize(offset + bytes.len());
        }
        let mut done = 0;
        while done < bytes.len() {
            let (chunk, from) = place(offset + done);
            let part = (CHUNK_BYTES - from).min(bytes.len() - done);
            let target = Arc::make_mut(&mut self.chunks[chunk]);
            target[from..from + part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    /// Cuts, or extends with zeros.
    pub(crate) fn resize(&mut self, len: usize) {
        self.chunks.resize_with(len.div_ceil(CHUNK_BYTES), || Arc::new([0; CHUNK_BYTES]));
        if len < self.len {
            let (chunk, from) = place(len);
            if from > 0 {
                Arc::make_mut(&mut self.chunks[chunk])[from..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes over what `other` has in `offset..offset + count`, chunk by chunk: what else lies in a touched chunk comes
    /// along, so only for contents that are equal outside of the written ranges.
    pub(crate) fn share(&mut self, other: &Self, offset: usize, count: usize) {
        let (first, last) = (offset / CHUNK_BYTES, (offset + count).div_ceil(CHUNK_BYTES));
        for chunk in first..last.min(other.chunks.len()) {
            if let Some(own) = self.chunks.get_mut(chunk) {
                own.clone_from(&other.chunks[chunk]);
            }
        }
    }

    /// All bytes.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }
}

const fn place(offset: usize) -> (usize, usize) {
    (offset / CHUNK_BYTES, offset % CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn it_is_a_vector_of_bytes_whatever_is_done_to_it() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let (mut content, mut model) = (Content::default(), Vec::new());
            let mut copies = Vec::new();
            for _ in 0..40 {
                let offset = usize::try_from(dice.below(20_000)).unwrap();
                if dice.below(4) == 0 {
                    content.resize(offset);
                    model.resize(offset, 0);
                } else {
                    let mut bytes = vec![0; usize::try_from(dice.below(9_000)).unwrap()];
                    dice.fill(&mut bytes);
                    content.write(offset, &bytes);
                    if !bytes.is_empty() {
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                }
                copies.push((content.clone(), model.clone()));
            }
            for (content, model) in copies {
                assert_eq!(content.to_vec(), model, "seed {seed}");
                let mut part = [7; 5_000];
                let count = content.read(3_000, &mut part);
                assert_eq!(&part[..count], model.get(3_000..(3_000 + count)).unwrap_or_default());
            }
        }
    }
}
