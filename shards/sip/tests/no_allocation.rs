//! Neither scan nor reader nor composer allocates once its room has grown.

#[path = "robust/touch.rs"]
mod touch;

use sipfed_sip::{HEADERS_COUNT_MAX, Index, scan};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use touch::{Room, compose_everything, touch_everything};

struct Counting;

thread_local! {
    /// Allocations of this thread; those of the test harness are on others.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // While a thread ends its cell may be gone; nobody asks for its count by then.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, and `alloc` passed on the system's pointer.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `realloc`, and `alloc` passed on the system's pointer.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_once_the_room_has_grown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let vectors: Vec<Vec<u8>> = files.collect();
    let longest =
        [b"OPTIONS sip:a SIP/2.0\r\n".as_slice(), &b"Via: SIP/2.0/UDP a\r\n".repeat(HEADERS_COUNT_MAX), b"\r\n"]
            .concat();

    let mut index = Index::new();
    let mut aor = Vec::with_capacity(1 << 16);
    let mut room = Room { out: Vec::with_capacity(1 << 16), index: Index::new() };
    assert!(scan(&longest, &mut index).is_ok() && scan(&longest, &mut room.index).is_ok());

    let before = ALLOCATIONS.get();
    for vector in &vectors {
        if let Ok(message) = scan(vector, &mut index) {
            touch_everything(&message, &mut aor);
            compose_everything(&message, &mut room);
        }
    }
    assert!(scan(&longest, &mut index).is_ok());
    assert_eq!(ALLOCATIONS.get() - before, 0);
    drop(std::hint::black_box(vec![0u8]));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the count counts");
}
