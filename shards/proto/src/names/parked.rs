//! Messages that wait for names: whole, as they came.
//!
//! Each is known by the transaction that it would open, so that its retransmissions are known too. One whose names are all
//! answered is *ready*, and stays here until it is taken. Bounded by `names.parked_messages_max` and
//! [`limits::PARKED_BYTES_MAX`].

use crate::hop::Source;
use crate::keys::NumberHasher;
use crate::limits;
use crate::slab::Slab;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// Names a message for as long as it is here, and none afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParkedId {
    slot: u32,
    serial: u32,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) source: Source,
}

#[derive(Debug)]
struct Parked {
    serial: u32,
    key: u128,
    message: Message,
    /// Names that are not answered yet.
    missing: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Parking {
    slots: Slab<Parked>,
    by_key: HashMap<u128, ParkedId, BuildHasherDefault<NumberHasher>>,
    ready: VecDeque<ParkedId>,
    bytes: usize,
    serial: u32,
    messages_max: usize,
}

impl Parking {
    pub(crate) fn new(messages_max: usize) -> Self {
        Self {
            slots: Slab::default(),
            by_key: HashMap::default(),
            ready: VecDeque::new(),
            bytes: 0,
            serial: 0,
            messages_max,
        }
    }

    /// How many messages are here.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether a message of so many bytes has room.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.slots.len() < self.messages_max && self.bytes + bytes <= limits::PARKED_BYTES_MAX
    }

    /// Keeps a message until so many names are answered.
    pub(crate) fn add(&mut self, key: u128, message: Message, missing: usize) -> ParkedId {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        self.bytes += message.bytes.len();
        let slot = self.slots.insert(Parked { serial, key, message, missing });
        let id = ParkedId { slot, serial };
        self.by_key.insert(key, id);
        id
    }

    /// The message that would open the transaction of that key.
    pub(crate) fn find(&self, key: u128) -> Option<ParkedId> {
        if self.by_key.is_empty() { None } else { self.by_key.get(&key).copied() }
    }

    /// One of the names that it waits for is answered.
    pub(crate) fn answered(&mut self, id: ParkedId) {
        let parked = self.slots.get_mut(id.slot).filter(|parked| parked.serial == id.serial);
        let Some(parked) = parked else { return };
        parked.missing = parked.missing.saturating_sub(1);
        if parked.missing == 0 {
            self.ready.push_back(id);
        }
    }

    /// Whether [`Parking::take_ready`] has something.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The message that has been ready longest.
    pub(crate) fn take_ready(&mut self) -> Option<Message> {
        loop {
            let id = self.ready.pop_front()?;
            // It may have been taken out since.
            if let Some(message) = self.take(id) {
                return Some(message);
            }
        }
    }

    /// Takes a message out, whether it is ready or not.
    pub(crate) fn take(&mut self, id: ParkedId) -> Option<Message> {
        self.slots.get(id.slot).filter(|parked| parked.serial == id.serial)?;
        let parked = self.slots.remove(id.slot)?;
        self.by_key.remove(&parked.key);
        self.bytes -= parked.message.bytes.len();
        Some(parked.message)
    }
}
