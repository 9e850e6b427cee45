//! How large a node is.

use std::path::Path;

use crate::base::Bytes;

/// The size of what lies under `dir`, on disk; what cannot be read counts nothing.
#[must_use]
pub fn directory_size(dir: &Path) -> Bytes {
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
    Bytes::new(bytes)
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
        let before = directory_size(&data).as_u64();
        assert!((100_000..200_000).contains(&before), "{before}");
        std::fs::write(other.join("b"), vec![1; 300_000]).unwrap();
        std::os::unix::fs::symlink(&other, data.join("pg_tblspc/16384")).unwrap();
        std::os::unix::fs::symlink(&other, data.join("base/elsewhere")).unwrap();
        assert!((400_000..600_000).contains(&directory_size(&data).as_u64()));
        assert!(crate::files::free_space(&data).unwrap() > Bytes::ZERO);
    }
}
