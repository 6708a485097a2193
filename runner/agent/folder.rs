//! A folder of the target's, reached from an agent that shares its processes.
//!
//! The kernel shows the file system that a process sees at `/proc/PID/root`, with all the target's own mounts,
//! volumes and read-only root included, to whoever may trace that process. A path is looked up with that as its
//! root, so that no link in the target leads out of it. What is made here has no name: it is gone when the last
//! descriptor of it is closed, however its owner dies.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The root of the container's first process.
const ROOT: &str = "/proc/1/root";
/// Kept in memory: what is written there is charged as such.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A folder of the target's, open.
#[derive(Debug)]
pub struct Folder {
    path: String,
    fd: OwnedFd,
}

/// What holds a file system's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A disk or a part of one, by its number: `8:1`.
    Disk(String),
    /// Other file systems, laid one upon the other.
    Layer,
    /// Something else, for people.
    Other(String),
}

/// How full a file system is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// In use.
    pub used_bytes: u64,
    /// Free for those without privileges.
    pub free_bytes: u64,
}

impl Folder {
    /// Opens the folder that the target calls `path`.
    ///
    /// # Errors
    /// There is none, or it may not be opened, for people.
    pub fn open(path: &str) -> Result<Self, String> {
        Self::open_below(ROOT, path, libc::O_DIRECTORY)
    }

    /// The same of a file, which only [`Folder::backing`] is of use of.
    ///
    /// # Errors
    /// There is none, or it may not be opened, for people.
    pub fn open_file(path: &str) -> Result<Self, String> {
        Self::open_below(ROOT, path, 0)
    }

    fn open_below(root: &str, path: &str, kind: libc::c_int) -> Result<Self, String> {
        let failed = |error: io::Error| format!("could not open the folder `{path}` of the target: {error}");
        let root = open(libc::AT_FDCWD, root, libc::O_PATH | libc::O_DIRECTORY).map_err(failed)?;
        let relative = path.trim_start_matches('/');
        let relative = CString::new(if relative.is_empty() { "." } else { relative })
            .map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: open_how is plain data; all zeroes is what its documentation asks for.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = (libc::O_RDONLY | kind | libc::O_CLOEXEC).unsigned_abs().into();
        how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        // SAFETY: the path ends with a zero; `how` and its size describe each other; both outlive the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                relative.as_ptr(),
                &raw const how,
                size_of_val(&how),
            )
        };
        if fd < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        // SAFETY: a fresh descriptor that nothing else owns.
        Ok(Self { path: path.to_owned(), fd: unsafe { OwnedFd::from_raw_fd(fd as RawFd) } })
    }

    /// How full the file system is that it lies on.
    ///
    /// # Errors
    /// The kernel does not say, for people.
    pub fn space(&self) -> Result<Space, String> {
        let mut seen = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the structure outlives the call, which fills it if it succeeds.
        let seen = unsafe {
            if libc::fstatvfs(self.fd.as_raw_fd(), seen.as_mut_ptr()) != 0 {
                return Err(self.failed("look at", &io::Error::last_os_error()));
            }
            seen.assume_init()
        };
        if seen.f_flag & libc::ST_RDONLY != 0 {
            return Err(format!(
                "`{}` of the target is read-only: name a folder that it can write to",
                self.path
            ));
        }
        Ok(Space {
            used_bytes: (seen.f_blocks - seen.f_bfree) * seen.f_frsize,
            free_bytes: seen.f_bavail * seen.f_frsize,
        })
    }

    /// What holds its data.
    ///
    /// # Errors
    /// The kernel does not say, for people.
    pub fn backing(&self) -> Result<Backing, String> {
        const OVERLAY_MAGIC: i64 = 0x794c_7630;
        const FUSE_MAGIC: i64 = 0x6573_5546;
        let mut about = MaybeUninit::<libc::stat>::uninit();
        let mut system = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: both structures outlive the calls, which fill them if they succeed.
        let (device, magic) = unsafe {
            let fd = self.fd.as_raw_fd();
            if libc::fstat(fd, about.as_mut_ptr()) != 0 || libc::fstatfs(fd, system.as_mut_ptr()) != 0 {
                return Err(self.failed("look at", &io::Error::last_os_error()));
            }
            (about.assume_init().st_dev, system.assume_init().f_type)
        };
        let (major, minor) = (libc::major(device), libc::minor(device));
        Ok(match magic {
            // File systems of several disks, or of none, have numbers of their own.
            _ if major != 0 => Backing::Disk(format!("{major}:{minor}")),
            OVERLAY_MAGIC => Backing::Layer,
            TMPFS_MAGIC => Backing::Other("it is kept in memory".into()),
            FUSE_MAGIC => Backing::Other("a process of the machine's deals with it".into()),
            other => Backing::Other(format!("file system {other:x}")),
        })
    }

    /// True if what is written here is memory.
    pub fn is_memory(&self) -> bool {
        let mut seen = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the structure outlives the call, which fills it if it succeeds.
        unsafe {
            libc::fstatfs(self.fd.as_raw_fd(), seen.as_mut_ptr()) == 0
                && seen.assume_init().f_type == TMPFS_MAGIC
        }
    }

    /// A file without a name, to read and write. `name` is what it is called for an instant where the file system
    /// has no files without names.
    ///
    /// # Errors
    /// The folder can't be written to, for people.
    pub fn file(&self, name: &str) -> Result<File, String> {
        let nameless = open(self.fd.as_raw_fd(), ".", libc::O_TMPFILE | libc::O_RDWR);
        nameless
            .or_else(|_| {
                let made = open(
                    self.fd.as_raw_fd(),
                    name,
                    libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_RDWR,
                )?;
                self.unlink(name)?;
                Ok(made)
            })
            .map(File::from)
            .map_err(|error: io::Error| self.failed("write to", &error))
    }

    /// Removes what is left of [`Folder::file`] if its owner died in that instant; true if there was something.
    ///
    /// # Errors
    /// It can't be removed, for people.
    pub fn remove(&self, name: &str) -> Result<bool, String> {
        match self.unlink(name) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EROFS)) => Ok(false),
            Err(error) => Err(self.failed("remove a file of ours from", &error)),
        }
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name)?;
        // SAFETY: the name ends with a zero and outlives the call.
        if unsafe { libc::unlinkat(self.fd.as_raw_fd(), name.as_ptr(), 0) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> String {
        format!("could not {what} `{}` of the target: {error}", self.path)
    }
}

fn open(folder: RawFd, path: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    // SAFETY: the path ends with a zero and outlives the call; the descriptor is checked before it is owned.
    unsafe {
        let fd = libc::openat(folder, path.as_ptr(), flags | libc::O_CLOEXEC, 0o600);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_and_no_file_has_a_name() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("data/inner")).unwrap();
        symlink(outside.path(), root.path().join("way-out")).unwrap();
        symlink("/data/inner", root.path().join("within")).unwrap();
        let open = |path: &str| Folder::open_below(root.path().to_str().unwrap(), path, libc::O_DIRECTORY);
        let refused = open("/way-out").unwrap_err();
        assert!(refused.contains("could not open the folder `/way-out` of the target"), "{refused}");
        let folder = open("/within").unwrap();
        let mut file = folder.file(".chaos-test").unwrap();
        file.write_all(b"something").unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("data/inner")).unwrap().count(), 0);
        assert!(folder.space().unwrap().free_bytes > 0);
        std::fs::write(root.path().join("data/inner/.chaos-test"), "").unwrap();
        assert_eq!((folder.remove(".chaos-test"), folder.remove(".chaos-test")), (Ok(true), Ok(false)));
    }
}
