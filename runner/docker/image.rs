//! What is in the image that agents and labs run from: this program, its shared objects, nothing else.
//!
//! Nothing is pulled: experiments run on machines without a registry, and what runs inside a target is
//! exactly what runs outside. The archive is in the form of `docker save`, whose image id is a hash of
//! its content: making it twice, also at the same time, gives one image. Names no Docker client; `docker.rs`
//! sends what [`Image::write`] writes. Start at [`Image::of`].

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::elf::Elf;
use super::label;

/// Where the program is in the image.
pub const PROGRAM: &str = "/chaos";
/// The image's name; the tag is the content's hash.
pub const NAME: &str = "chaos";
/// Where a lab's container has its volume. The image has this folder, empty: a new volume takes after it, and so belongs
/// to whom it belongs to.
pub const VOLUME: &str = "/data";
/// User and group without privileges, as whom labs run.
pub(super) const NOBODY: u64 = 65_534;
/// One directory for all libraries, whatever the host's layout: the loader is told by `LD_LIBRARY_PATH`.
const LIBRARIES: &str = "/lib/chaos";
/// Docker writes container names into /etc/hosts and serves its DNS; nothing else is asked.
const NSSWITCH: &[u8] = b"hosts: files dns\n";
/// glibc before 2.34 opens these only when a name is first looked up, so they are mapped nowhere yet.
const LATE_LIBRARIES: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];
/// tar's unit of size.
const TAR_BLOCK_BYTES: u64 = 512;

/// An image ready to be loaded.
#[derive(Debug)]
pub struct Image {
    files: Vec<Entry>,
    config: Vec<u8>,
    layer_bytes: u64,
    /// `chaos:<first 12 digits of the image id>`.
    pub tag: String,
    /// The image id, as `sha256:…`.
    pub id: String,
}

/// A file in the image.
#[derive(Debug)]
struct Entry {
    /// Absolute.
    path: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File, u64),
    Bytes(&'static [u8]),
    Directory,
    /// One that [`NOBODY`] may write to.
    Writable,
}

impl Image {
    /// The image of `program` with the shared objects that this process has mapped. Reads everything once
    /// to hash it; call it off the async threads.
    ///
    /// # Errors
    /// A file that can't be read, such as a library replaced by an upgrade since the program started.
    pub fn of(program: &Path) -> io::Result<Self> {
        let exe = open(program)?;
        let created = exe.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut files = vec![Entry { path: "/etc/nsswitch.conf".into(), content: Content::Bytes(NSSWITCH) }];
        files.push(Entry { path: format!("{VOLUME}/"), content: Content::Writable });
        let interpreter = Elf::read(&exe).interpreter;
        files.push(Entry::file(PROGRAM.into(), exe)?);
        let libraries = if interpreter.is_some() { mapped_libraries()? } else { Vec::new() };
        for library in &libraries {
            let file = open(library)?;
            let file_name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = Elf::read(&file).soname.unwrap_or(file_name);
            files.push(Entry::file(format!("{LIBRARIES}/{name}"), file)?);
        }
        let late = libraries
            .iter()
            .find(|path| path.to_string_lossy().contains("/libc"))
            .and_then(|libc| libc.parent());
        for name in LATE_LIBRARIES {
            let path = format!("{LIBRARIES}/{name}");
            if let Some(file) = late.and_then(|directory| File::open(directory.join(name)).ok())
                && !files.iter().any(|entry| entry.path == path)
            {
                files.push(Entry::file(path, file)?);
            }
        }
        if let Some(loader) = interpreter {
            let file = open(Path::new(&loader))?;
            files.push(Entry::file(loader, file)?);
        }
        let mut image = Self {
            files: with_directories(files),
            config: Vec::new(),
            layer_bytes: 0,
            tag: String::new(),
            id: String::new(),
        };
        let mut hash = Hashing { hash: Sha256::new(), bytes: 0 };
        image.write_layer(&mut hash)?;
        image.layer_bytes = hash.bytes;
        image.config = config(&format!("sha256:{}", hex(&hash.hash.finalize())), created);
        let id = hex(&Sha256::digest(&image.config));
        image.tag = format!("{NAME}:{}", &id[..12]);
        image.id = format!("sha256:{id}");
        Ok(image)
    }

    /// Writes the archive, in the form of `docker save`.
    ///
    /// # Errors
    /// What reading the files or writing to `out` fails with.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let config_name = format!("{}.json", &self.id["sha256:".len()..]);
        let manifest = json!([{ "Config": config_name, "RepoTags": [self.tag], "Layers": ["layer.tar"] }]);
        for (name, bytes) in
            [("manifest.json", manifest.to_string().into_bytes()), (&config_name, self.config.clone())]
        {
            out.write_all(header(name, tar::EntryType::Regular, bytes.len() as u64)?.as_bytes())?;
            out.write_all(&bytes)?;
            out.write_all(padding(bytes.len() as u64))?;
        }
        out.write_all(header("layer.tar", tar::EntryType::Regular, self.layer_bytes)?.as_bytes())?;
        self.write_layer(&mut out)?;
        out.write_all(padding(self.layer_bytes))?;
        out.write_all(&[0; 2 * TAR_BLOCK_BYTES as usize])?;
        out.flush()
    }

    /// Writes the one layer. Times and owners are fixed, so that equal files make equal layers.
    fn write_layer(&self, out: &mut impl Write) -> io::Result<()> {
        for entry in &self.files {
            let name = entry.path.trim_start_matches('/');
            match &entry.content {
                Content::Directory => {
                    out.write_all(header(name, tar::EntryType::Directory, 0)?.as_bytes())?
                }
                Content::Writable => {
                    let mut header = header(name, tar::EntryType::Directory, 0)?;
                    header.set_uid(NOBODY);
                    header.set_gid(NOBODY);
                    header.set_cksum();
                    out.write_all(header.as_bytes())?;
                }
                Content::Bytes(bytes) => {
                    out.write_all(header(name, tar::EntryType::Regular, bytes.len() as u64)?.as_bytes())?;
                    out.write_all(bytes)?;
                    out.write_all(padding(bytes.len() as u64))?;
                }
                Content::File(file, size) => {
                    out.write_all(header(name, tar::EntryType::Regular, *size)?.as_bytes())?;
                    let mut file = file;
                    file.rewind()?;
                    if io::copy(&mut file.take(*size), out)? != *size {
                        return Err(io::Error::other(format!("{} shrank while it was read", entry.path)));
                    }
                    out.write_all(padding(*size))?;
                }
            }
        }
        out.write_all(&[0; 2 * TAR_BLOCK_BYTES as usize])
    }
}

impl Entry {
    fn file(path: String, file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { path, content: Content::File(file, size) })
    }
}

/// Opens a file; the error names it.
fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Sorted by path, each parent directory before what is in it.
fn with_directories(mut files: Vec<Entry>) -> Vec<Entry> {
    let mut directories: Vec<String> = files
        .iter()
        .flat_map(|entry| Path::new(&entry.path).ancestors().skip(1))
        .filter(|path| path.parent().is_some())
        .map(|path| format!("{}/", path.display()))
        .collect();
    directories.sort();
    directories.dedup();
    files.extend(directories.into_iter().map(|path| Entry { path, content: Content::Directory }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Files this process has mapped as code, but for the program itself.
fn mapped_libraries() -> io::Result<Vec<PathBuf>> {
    let own = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut paths: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| {
            // Address, permissions, offset, device, inode, path; the path may hold spaces.
            let mut fields = line.splitn(6, ' ');
            let permissions = fields.nth(1)?;
            let path = fields.nth(3)?.trim_start();
            (permissions.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
        })
        .filter(|path| {
            *path != own && !path.starts_with("/dev") && !path.to_string_lossy().starts_with("/memfd:")
        })
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn header(name: &str, kind: tar::EntryType, size: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// The zeros that fill up the last block of `size` bytes.
fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; TAR_BLOCK_BYTES as usize] = [0; TAR_BLOCK_BYTES as usize];
    &ZEROS[..(size.next_multiple_of(TAR_BLOCK_BYTES) - size) as usize]
}

/// The image's config, whose hash is the image's id.
fn config(layer: &str, created_s: u64) -> Vec<u8> {
    let created = jiff::Timestamp::from_second(created_s.cast_signed()).unwrap_or_default().to_string();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": [PROGRAM],
            "Env": [format!("LD_LIBRARY_PATH={LIBRARIES}")],
            "Labels": { label::ROLE: label::ROLE_IMAGE },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": created, "created_by": "chaos" }],
    })
    .to_string()
    .into_bytes()
}

/// Hashes and counts what is written.
struct Hashing {
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_programs_make_equal_images_and_the_archive_holds_what_they_need() {
        let program = Path::new("/proc/self/exe");
        let (one, two) = (Image::of(program).unwrap(), Image::of(program).unwrap());
        assert_eq!((&one.id, &one.tag), (&two.id, &two.tag));
        let mut archive = Vec::new();
        one.write(&mut archive).unwrap();
        let mut outer = tar::Archive::new(archive.as_slice());
        let mut names = Vec::new();
        let mut layer_names = Vec::new();
        for entry in outer.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "layer.tar" {
                let mut layer = tar::Archive::new(&mut entry);
                for file in layer.entries().unwrap() {
                    layer_names.push(file.unwrap().path().unwrap().display().to_string());
                }
            }
            names.push(name);
        }
        assert_eq!(names, ["manifest.json", &format!("{}.json", &one.id[7..]), "layer.tar"]);
        assert!(
            layer_names.contains(&"chaos".to_owned())
                && layer_names.contains(&"etc/nsswitch.conf".to_owned())
        );
        let etc = layer_names.iter().position(|name| name == "etc/");
        assert!(etc < layer_names.iter().position(|name| name == "etc/nsswitch.conf"), "{layer_names:?}");
        assert!(layer_names.is_sorted(), "{layer_names:?}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Image::of(Path::new("/nowhere/chaos")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/chaos: "), "{error}");
    }
}
