//! How large a node is, and how much room there is for it.

use std::path::Path;

use crate::base::{Error, ErrorKind};

/// The size of what lies under `dir`, in bytes on disk; what cannot be read counts nothing.
#[must_use]
pub fn directory_size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut folders = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Tablespaces hang on symbolic links below pg_tblspc.
            let link = folder.ends_with("pg_tblspc");
            let meta = if link { std::fs::metadata(entry.path()) } else { entry.metadata() };
            match meta {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => bytes += meta.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}

/// The bytes that this user may still write to the file system of `dir`.
///
/// # Errors
/// `io`.
pub fn free_space(dir: &Path) -> Result<u64, Error> {
    let stat = nix::sys::statvfs::statvfs(dir).map_err(|e| {
        Error::new(ErrorKind::Io, format!("cannot learn the free space of {}: {}", dir.display(), e.desc()))
    })?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// A number of bytes as people read it.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..units.len() - 1).find(|unit| bytes >> (10 * unit) < 10_240).unwrap_or(units.len() - 1);
    format!("{} {}", bytes >> (10 * unit), units[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_summed_through_folders_and_tablespace_links() {
        let dir = tempfile::tempdir().unwrap();
        let (data, other) = (dir.path().join("data"), dir.path().join("other"));
        std::fs::create_dir_all(data.join("base/1")).unwrap();
        std::fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(data.join("base/1/a"), vec![1; 100_000]).unwrap();
        let before = directory_size(&data);
        assert!((100_000..200_000).contains(&before), "{before}");
        std::fs::write(other.join("b"), vec![1; 300_000]).unwrap();
        std::os::unix::fs::symlink(&other, data.join("pg_tblspc/16384")).unwrap();
        std::os::unix::fs::symlink(&other, data.join("base/elsewhere")).unwrap();
        assert!((400_000..600_000).contains(&directory_size(&data)));
        assert!(free_space(&data).unwrap() > 0);
    }

    #[test]
    fn bytes_are_told_in_units() {
        assert_eq!(format_bytes(10), "10 B");
        assert_eq!(format_bytes(20 << 20), "20 MiB");
        assert_eq!(format_bytes(5 << 30), "5120 MiB");
    }
}
