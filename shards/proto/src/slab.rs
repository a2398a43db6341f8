//! Slots with stable numbers, in chunks: growing never moves what is there, so that no single request
//! pays for the copy of a million entries.

/// Slots of one chunk.
const CHUNK_SLOTS_COUNT: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Slot<T> {
    Used(T),
    Free { next: u32 },
}

/// Values by number. A number is used again once its value was removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest number that was ever given.
    pub(crate) fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_SLOTS_COUNT;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// Keeps `value`; gives its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let id = self.free;
        if id != NONE {
            let slot = &mut self.chunks[id as usize / CHUNK_SLOTS_COUNT][id as usize % CHUNK_SLOTS_COUNT];
            let Slot::Free { next } = *slot else { unreachable!("the free list leads to a used slot") };
            self.free = next;
            *slot = Slot::Used(value);
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_SLOTS_COUNT) {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS_COUNT));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        chunk.push(Slot::Used(value));
        (last * CHUNK_SLOTS_COUNT + chunk.len() - 1) as u32
    }

    /// The value of that number.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        match self.chunks.get(id as usize / CHUNK_SLOTS_COUNT)?.get(id as usize % CHUNK_SLOTS_COUNT)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The value of that number.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.chunks.get_mut(id as usize / CHUNK_SLOTS_COUNT)?.get_mut(id as usize % CHUNK_SLOTS_COUNT)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Takes the value of that number out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let slot = self.chunks.get_mut(id as usize / CHUNK_SLOTS_COUNT)?.get_mut(id as usize % CHUNK_SLOTS_COUNT)?;
        if matches!(slot, Slot::Free { .. }) {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(slot, Slot::Free { next: self.free }) else { return None };
        self.free = id;
        self.len -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_used_again() {
        let mut slab = Slab::default();
        let ids: Vec<u32> = (0..3000).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.get(ids[2999]), Some(&2999));
        assert_eq!(slab.remove(ids[7]), Some(7));
        assert_eq!((slab.remove(ids[7]), slab.get(ids[7]), slab.len()), (None, None, 2999));
        assert_eq!(slab.insert(9), ids[7]);
        assert_eq!(slab.get(99_999), None);
        assert_eq!((slab.end(), Slab::<u8>::default().end()), (3000, 0));
    }
}
