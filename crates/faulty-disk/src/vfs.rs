//! SQLite's list of virtual file systems, and the functions that it calls about names, time and chance.
//!
//! A registered `sqlite3_vfs` is reached from C by a bare pointer: by SQLite's list, by every connection that was opened
//! with it, and by whoever looks a name up just now on another thread. So none is ever freed. It is a [`Slot`], lent to
//! one disk after the other: given back when the disk and its last open file are gone, and only then lent again. There
//! are as many as there were disks at one time.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::ffi;

use crate::faults::Role;
use crate::file;
use crate::state::{State, Trouble};

/// The longest name of a file, its ending NUL included.
const NAME_BYTES_MAX: c_int = 1024;

/// Slots that no disk has.
static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
/// Slots made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A `sqlite3_vfs` that lives for ever.
struct Slot {
    /// Written once, in [`Slot::make`], before anybody else sees it; its `pNext` by SQLite under SQLite's own mutex.
    vfs: *mut ffi::sqlite3_vfs,
    name: CString,
    text: String,
    disk: Mutex<Weak<Shared>>,
}

// SAFETY: the pointer is to memory that is never freed and that Rust code does not touch after `make`.
unsafe impl Send for Slot {}
// SAFETY: as above; the other fields are `Sync`.
unsafe impl Sync for Slot {}

impl Slot {
    fn make() -> &'static Self {
        let text = format!("faulty-disk-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(text.clone()).unwrap_or_default();
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: file::SIZE,
            mxPathname: NAME_BYTES_MAX,
            pNext: ptr::null_mut(),
            zName: ptr::null(),
            pAppData: ptr::null_mut(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: Some(x_dl_open),
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            // The older clock, in days with a fraction; SQLite takes the newer one where there is one.
            xCurrentTime: None,
            xGetLastError: Some(x_get_last_error),
            xCurrentTimeInt64: Some(x_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        let slot: &'static Self =
            Box::leak(Box::new(Self { vfs, name, text, disk: Mutex::new(Weak::new()) }));
        // SAFETY: `vfs` was made above and nobody else has it yet.
        let shape = unsafe { &mut *vfs };
        shape.zName = slot.name.as_ptr();
        shape.pAppData = ptr::from_ref(slot).cast_mut().cast();
        slot
    }

    fn disk(&self) -> MutexGuard<'_, Weak<Shared>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk, owned by its handle and by every file that is open on it.
pub(crate) struct Shared {
    slot: &'static Slot,
    state: Mutex<State>,
}

impl Shared {
    /// A new disk under a name of its own. Should SQLite have no memory to list it, opening a database says so.
    pub(crate) fn register(seed: u64) -> Arc<Self> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = free.unwrap_or_else(Slot::make);
        let shared = Arc::new(Self { slot, state: Mutex::new(State::new(seed)) });
        *slot.disk() = Arc::downgrade(&shared);
        // SAFETY: the structure lives for ever and is complete.
        let _ = unsafe { ffi::sqlite3_vfs_register(slot.vfs, 0) };
        shared
    }

    /// Nobody can open a database by its name any more.
    pub(crate) fn unregister(&self) {
        // SAFETY: the structure lives for ever; what is not listed is left alone.
        let _ = unsafe { ffi::sqlite3_vfs_unregister(self.slot.vfs) };
    }

    pub(crate) fn name(&self) -> &str {
        &self.slot.text
    }

    pub(crate) fn c_name(&self) -> &CStr {
        &self.slot.name
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic of the owner's between two calls leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        *self.slot.disk() = Weak::new();
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

/// The disk behind a `sqlite3_vfs`; none where it is gone.
///
/// # Safety
/// `vfs` is the structure of a [`Slot`].
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Shared>> {
    // SAFETY: by this function's contract `vfs` lives; only its `pNext` is ever written, and that is not read here.
    let slot: *const Slot = unsafe { (*vfs).pAppData }.cast_const().cast();
    // SAFETY: `make` set it to its slot, which lives for ever.
    let slot = unsafe { &*slot };
    slot.disk().upgrade()
}

/// # Safety
/// `name` is null or ends with NUL, and lives as long as is said.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// What SQLite is told, where an operation has no error of its own kind.
pub(crate) const fn code(trouble: Trouble, io: c_int) -> c_int {
    match trouble {
        Trouble::Missing | Trouble::Exists => ffi::SQLITE_CANTOPEN,
        Trouble::Io => io,
        Trouble::Full => ffi::SQLITE_FULL,
        Trouble::Busy => ffi::SQLITE_BUSY,
    }
}

/// What a file beside a database is, by its name: for operations that are told nothing else.
fn role_of(name: &str) -> Role {
    if name.ends_with("-wal") {
        Role::Wal
    } else if name.ends_with("-journal") {
        Role::Journal
    } else {
        Role::Main
    }
}

const fn role_by(flags: c_int) -> Role {
    match flags & 0x000F_FF00 {
        ffi::SQLITE_OPEN_WAL => Role::Wal,
        ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL => Role::Journal,
        ffi::SQLITE_OPEN_MAIN_DB => Role::Main,
        _ => Role::Temporary,
    }
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    target: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes of its own to make the file in.
    unsafe { file::clear(target) };
    // SAFETY: SQLite calls this with the structure it was registered with.
    let Some(shared) = (unsafe { disk(vfs) }) else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite's names end with NUL and live until the file is closed.
    let name = unsafe { text(name) };
    let make = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let exclusive = flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0;
    let opened = shared.state().open(name, role_by(flags), make, exclusive);
    let handle = match opened {
        Ok(handle) => handle,
        Err(trouble) => return code(trouble, ffi::SQLITE_CANTOPEN),
    };
    if let (Some(name), true) = (name, flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0) {
        shared.state().unname(name);
    }
    if !out_flags.is_null() {
        // SAFETY: not null, so SQLite's own variable.
        unsafe { out_flags.write(flags) };
    }
    let name = name.map(str::to_owned);
    // SAFETY: as at the first use of `target`.
    unsafe { file::fill(target, shared, handle, name) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, durably: c_int) -> c_int {
    // SAFETY: SQLite calls this with the structure it was registered with.
    let shared = unsafe { disk(vfs) };
    // SAFETY: SQLite's names end with NUL and live during the call.
    let name = unsafe { text(name) };
    let (Some(shared), Some(name)) = (shared, name) else { return ffi::SQLITE_IOERR_DELETE };
    let deleted = shared.state().delete(name, role_of(name), durably != 0);
    match deleted {
        Ok(()) => ffi::SQLITE_OK,
        Err(Trouble::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn x_access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with the structure it was registered with.
    let shared = unsafe { disk(vfs) };
    // SAFETY: SQLite's names end with NUL and live during the call.
    let name = unsafe { text(name) };
    let (Some(shared), Some(name)) = (shared, name) else { return ffi::SQLITE_IOERR_ACCESS };
    // As SQLite's own for Unix: an empty file is not there, but it may be written.
    let found = shared.state().access(name, role_of(name), flags != ffi::SQLITE_ACCESS_EXISTS);
    match found {
        Ok(found) => {
            // SAFETY: SQLite's own variable.
            unsafe { result.write(c_int::from(found)) };
            ffi::SQLITE_OK
        }
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_ACCESS),
    }
}

unsafe extern "C" fn x_full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    into: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's names end with NUL.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| bytes.len() <= room) {
        // SAFETY: `into` has `room` bytes, which was just compared, and is SQLite's own and not `name`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast(), into, bytes.len()) };
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_CANTOPEN
    }
}

unsafe extern "C" fn x_dl_open(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    // No library lies on this disk; without one SQLite asks for no symbol of it.
    ptr::null_mut()
}

unsafe extern "C" fn x_randomness(vfs: *mut ffi::sqlite3_vfs, count: c_int, into: *mut c_char) -> c_int {
    // SAFETY: SQLite calls this with the structure it was registered with.
    let shared = unsafe { disk(vfs) };
    let (Some(shared), Ok(len)) = (shared, usize::try_from(count)) else { return 0 };
    // SAFETY: SQLite gives room for `count` bytes; zeroed first, because it need not have written any of them.
    unsafe { ptr::write_bytes(into, 0, len) };
    // SAFETY: `len` bytes, initialized above, used by nobody else during the call.
    let bytes = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), len) };
    shared.state().randomness(bytes);
    count
}

unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, us: c_int) -> c_int {
    // SAFETY: SQLite calls this with the structure it was registered with.
    if let Some(shared) = unsafe { disk(vfs) } {
        shared.state().sleep(u64::try_from(us).unwrap_or(0));
    }
    // Whoever has the lock may need this core to give it back.
    std::thread::yield_now();
    us
}

/// Milliseconds of the Julian calendar's day 0 before 1970.
const JULIAN_MS: i64 = 210_866_760_000_000;

unsafe extern "C" fn x_current_time_int64(vfs: *mut ffi::sqlite3_vfs, ms: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls this with the structure it was registered with.
    let shared = unsafe { disk(vfs) };
    let now = JULIAN_MS.saturating_add(shared.map_or(0, |shared| shared.state().now_us / 1000));
    // SAFETY: SQLite's own variable.
    unsafe { ms.write(now) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_get_last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _room: c_int,
    _into: *mut c_char,
) -> c_int {
    0
}
