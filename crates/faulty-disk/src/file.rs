//! The functions that SQLite calls about an open file.
//!
//! SQLite gives `szOsFile` bytes for a file and frees them itself; in them lies an [`OpenFile`], whose box is ours from
//! [`fill`] to `xClose`. A connection's files are used by one thread at a time, which SQLite sees to.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi;

use crate::locks::Level;
use crate::state::{Handle, Trouble};
use crate::vfs::{Shared, code};

/// What SQLite's own file system for Unix says of a disk it knows nothing about.
const SECTOR_BYTES: c_int = 4096;
/// Likewise: a write alters nothing beside it when the power goes, and a part of a page may be read.
const CHARACTERISTICS: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ;

/// A file in SQLite's memory: its table of functions, which C looks for at the front, and what is ours.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    ours: *mut Ours,
}

struct Ours {
    shared: Arc<Shared>,
    handle: Handle,
    name: Option<String>,
    keeps_wal: bool,
}

/// Bytes that SQLite has to give for a file.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // two pointers
pub(crate) const SIZE: c_int = size_of::<OpenFile>() as c_int;

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Says that there is no file: SQLite then closes none.
///
/// # Safety
/// `target` has [`SIZE`] bytes to write to, aligned as SQLite does.
pub(crate) unsafe fn clear(target: *mut ffi::sqlite3_file) {
    let empty = OpenFile { base: ffi::sqlite3_file { pMethods: ptr::null() }, ours: ptr::null_mut() };
    // SAFETY: by this function's contract.
    unsafe { target.cast::<OpenFile>().write(empty) };
}

/// Makes an open file of `target`, until `xClose`.
///
/// # Safety
/// As [`clear`].
pub(crate) unsafe fn fill(
    target: *mut ffi::sqlite3_file,
    shared: Arc<Shared>,
    handle: Handle,
    name: Option<String>,
) {
    let ours = Box::into_raw(Box::new(Ours { shared, handle, name, keeps_wal: false }));
    let open = OpenFile { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, ours };
    // SAFETY: by this function's contract.
    unsafe { target.cast::<OpenFile>().write(open) };
}

/// # Safety
/// `file` was filled and not closed since, and nobody else uses it during `'a`.
unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Ours {
    // SAFETY: by this function's contract an `OpenFile` lies there.
    let ours = unsafe { (*file.cast::<OpenFile>()).ours };
    // SAFETY: `fill` made it from a box, which `x_close` has not taken back.
    unsafe { &mut *ours }
}

fn answer(done: Result<(), Trouble>, io: c_int) -> c_int {
    done.map_or_else(|trouble| code(trouble, io), |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes what it opened, once.
    let open = unsafe { ours(file) };
    // SAFETY: `fill` made it from a box; SQLite does not use the file after this.
    let mut open = unsafe { Box::from_raw(ptr::from_mut(open)) };
    let Ours { shared, handle, .. } = &mut *open;
    shared.state().close(handle);
    // SAFETY: the memory is SQLite's still.
    unsafe { clear(file) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: SQLite gives room for `count` bytes; zeroed first, because it need not have written any of them, and
    // because what is not in the file has to read as zeros.
    unsafe { ptr::write_bytes(into.cast::<u8>(), 0, count) };
    // SAFETY: `count` bytes, initialized above, used by nobody else during the call.
    let bytes = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), count) };
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    let read = open.shared.state().read(&open.handle, offset, bytes);
    match read {
        Ok(read) if read == count => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives `count` bytes, which nobody changes during the call.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count) };
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    answer(open.shared.state().write(&open.handle, offset, bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    let Ok(len) = usize::try_from(len) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    answer(open.shared.state().resize(&open.handle, len), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    answer(open.shared.state().sync(&mut open.handle), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, len: *mut i64) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    let found = open.shared.state().size(&open.handle);
    match found {
        Ok(found) => {
            // SAFETY: SQLite's own variable.
            unsafe { len.write(i64::try_from(found).unwrap_or(i64::MAX)) };
            ffi::SQLITE_OK
        }
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_FSTAT),
    }
}

const fn level(lock: c_int) -> Level {
    match lock {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, lock: c_int) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    answer(open.shared.state().lock(&mut open.handle, level(lock)), ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, lock: c_int) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    open.shared.state().unlock(&mut open.handle, level(lock));
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    let reserved = open.shared.state().is_reserved(&open.handle);
    match reserved {
        Ok(reserved) => {
            // SAFETY: SQLite's own variable.
            unsafe { result.write(c_int::from(reserved)) };
            ffi::SQLITE_OK
        }
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK),
    }
}

/// The questions that SQLite's own file system for Unix answers too, as far as a disk without a kernel has an answer.
unsafe extern "C" fn x_file_control(file: *mut ffi::sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    match op {
        ffi::SQLITE_FCNTL_HAS_MOVED => {
            let named =
                open.name.as_ref().is_none_or(|name| open.shared.state().is_named(&open.handle, name));
            // SAFETY: this question comes with an int to answer in.
            unsafe { arg.cast::<c_int>().write(c_int::from(!named)) };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_PERSIST_WAL => {
            let arg = arg.cast::<c_int>();
            // SAFETY: this question comes with an int.
            let wanted = unsafe { arg.read() };
            if wanted >= 0 {
                open.keeps_wal = wanted != 0;
            }
            // SAFETY: as above.
            unsafe { arg.write(c_int::from(open.keeps_wal)) };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_VFSNAME => {
            // SAFETY: `%s` takes the text that ends with NUL after it; SQLite frees what it is given.
            let text = unsafe { ffi::sqlite3_mprintf(c"%s".as_ptr(), open.shared.c_name().as_ptr()) };
            // SAFETY: this question comes with a pointer to answer in.
            unsafe { arg.cast::<*mut c_char>().write(text) };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_SIZE_HINT => ffi::SQLITE_OK,
        _ => ffi::SQLITE_NOTFOUND,
    }
}

unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn x_device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    CHARACTERISTICS
}

unsafe extern "C" fn x_shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    result: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's own variable.
    unsafe { result.write(ptr::null_mut()) };
    let (Ok(region), Ok(bytes)) = (usize::try_from(region), usize::try_from(bytes)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    let mapped = open.shared.state().shm_map(&mut open.handle);
    match mapped {
        Ok(memory) => {
            // The handle keeps the memory, and with it this place, until it unmaps it.
            let place = memory.region(region, bytes, extend != 0);
            // SAFETY: SQLite's own variable.
            unsafe { result.write(place) };
            ffi::SQLITE_OK
        }
        Err(trouble) => code(trouble, ffi::SQLITE_IOERR_SHMMAP),
    }
}

unsafe extern "C" fn x_shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    let mut state = open.shared.state();
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        state.shm_unlock(&mut open.handle, first, count);
        return ffi::SQLITE_OK;
    }
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    answer(state.shm_lock(&mut open.handle, first, count, exclusive), ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn x_shm_barrier(file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // SAFETY: an open file of SQLite's. Its mutex is the barrier that every reading of the standard allows.
    drop(unsafe { ours(file) }.shared.state());
}

unsafe extern "C" fn x_shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: an open file of SQLite's.
    let open = unsafe { ours(file) };
    open.shared.state().shm_unmap(&mut open.handle);
    ffi::SQLITE_OK
}
