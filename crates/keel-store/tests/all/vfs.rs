//! A disk that breaks on demand: SQLite's own file layer, with writes and syncs that can be made to
//! fail or to take long. One a test, so that tests do not break each other's disks.

use std::{
    collections::HashMap,
    ffi::{CString, c_int, c_void},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    time::Duration,
};

use keel_store::{Sqlite, sqlite::Config};
use rusqlite::ffi;

/// The switches of one disk. Lives for ever, as SQLite's registrations do.
#[derive(Default)]
pub(crate) struct Disk {
    name: CString,
    /// The code that writing to the log answers; 0 for a good one.
    pub(crate) wal_write: AtomicI32,
    /// The code that syncing the log answers.
    pub(crate) wal_sync: AtomicI32,
    /// The code that syncing the database answers.
    pub(crate) db_sync: AtomicI32,
    /// How long a sync takes, in milliseconds.
    pub(crate) sync_ms: AtomicU64,
    /// How many syncs of the log there were.
    pub(crate) wal_syncs: AtomicU64,
    tables: Mutex<HashMap<(usize, bool), usize>>,
}

/// SQLite finds the methods first, we find the rest behind them.
#[repr(C)]
struct Table {
    methods: ffi::sqlite3_io_methods,
    real: *const ffi::sqlite3_io_methods,
    disk: &'static Disk,
    wal: bool,
}

impl Disk {
    pub(crate) fn register(name: &str) -> &'static Self {
        let name = CString::new(name).expect("no NUL");
        let disk: &'static Self = Box::leak(Box::new(Self {
            name,
            ..Self::default()
        }));
        // SAFETY: the registration and what it points to are leaked, so they outlive every use; the
        // default file layer is registered for as long as the process lives.
        unsafe {
            let mut vfs = *ffi::sqlite3_vfs_find(std::ptr::null());
            vfs.zName = disk.name.as_ptr();
            vfs.pAppData = std::ptr::from_ref(disk).cast_mut().cast::<c_void>();
            vfs.xOpen = Some(open);
            vfs.pNext = std::ptr::null_mut();
            let vfs = Box::leak(Box::new(vfs));
            assert_eq!(ffi::sqlite3_vfs_register(vfs, 0), ffi::SQLITE_OK);
        }
        disk
    }

    pub(crate) fn store(&self, dir: &Path) -> Sqlite {
        let mut config = Config::new(dir);
        config.vfs = Some(self.name.to_str().expect("ASCII").to_owned());
        Sqlite::open(&config).expect("it opens")
    }

    /// The real methods with ours in place of two.
    fn table(&'static self, real: *const ffi::sqlite3_io_methods, wal: bool) -> usize {
        let mut tables = self.tables.lock().expect("no test panics with it held");
        *tables.entry((real as usize, wal)).or_insert_with(|| {
            // SAFETY: `real` comes from a file that SQLite has just opened.
            let mut methods = unsafe { *real };
            methods.xSync = Some(sync);
            methods.xWrite = Some(write);
            std::ptr::from_ref(Box::leak(Box::new(Table {
                methods,
                real,
                disk: self,
                wal,
            }))) as usize
        })
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with what it promises for `xOpen`; `pAppData` is the leaked disk.
    unsafe {
        let disk: &'static Disk = &*(*vfs).pAppData.cast::<Disk>();
        let real = ffi::sqlite3_vfs_find(std::ptr::null());
        let code = (*real).xOpen.expect("every file layer opens")(real, name, file, flags, out);
        if !(*file).pMethods.is_null() {
            let wal = flags & ffi::SQLITE_OPEN_WAL != 0;
            (*file).pMethods = disk.table((*file).pMethods, wal) as *const _;
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the methods of a file that we opened are the first field of a leaked `Table`.
    let table = unsafe { &*(*file).pMethods.cast::<Table>() };
    let disk = table.disk;
    let wait = Duration::from_millis(disk.sync_ms.load(Ordering::SeqCst));
    let code = if table.wal {
        disk.wal_syncs.fetch_add(1, Ordering::SeqCst);
        &disk.wal_sync
    } else {
        &disk.db_sync
    };
    std::thread::sleep(wait);
    let code = code.load(Ordering::SeqCst);
    if code != ffi::SQLITE_OK {
        return code;
    }
    // SAFETY: as above; `real` are the methods that the file was opened with.
    unsafe { (*table.real).xSync.expect("every file syncs")(file, flags) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    // SAFETY: as in `sync`.
    let table = unsafe { &*(*file).pMethods.cast::<Table>() };
    let code = table.disk.wal_write.load(Ordering::SeqCst);
    if table.wal && code != ffi::SQLITE_OK {
        return code;
    }
    // SAFETY: as in `sync`.
    unsafe { (*table.real).xWrite.expect("every file is written")(file, bytes, count, at) }
}
