//! The file of a package on this machine.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use og_common::files;
use og_common::protocol::{Bytes, Error};

use crate::args::PackageFile;

/// Looks at the file, and reads all of it for its hash.
pub(crate) fn read(path: &str) -> PackageFile {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| Path::new(path).to_owned());
    let mut told = PackageFile { path: absolute.display().to_string(), ..PackageFile::default() };
    match inspect(&absolute) {
        Ok((size, Some(sha256))) => (told.size, told.sha256) = (Bytes::new(size), Some(sha256)),
        Ok((_, None)) => {
            let what = "is no package of openGauss: it is compressed neither by gzip nor by bzip2";
            told.problem = Some(format!("{} {what}", told.path));
        }
        Err(e) => told.problem = Some(Error::io("read", &absolute, &e).failure().detail.clone()),
    }
    told
}

/// The size and the hash; no hash of what is no compressed file.
fn inspect(path: &Path) -> std::io::Result<(u64, Option<String>)> {
    // The opening of a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path)?.is_file() {
        return Ok((0, None));
    }
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(4).read_to_end(&mut head)?;
    if !files::is_compressed(&head) {
        return Ok((0, None));
    }
    file.rewind()?;
    Ok((file.metadata()?.len(), Some(files::sha256(file)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_package_is_told_by_its_hash_and_another_file_by_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("good"), b"BZh9").unwrap();
        let good = read(&at("good"));
        assert_eq!((good.size, good.problem), (Bytes::new(4), None));
        assert_eq!(
            good.sha256.as_deref(),
            Some("dc09e7cc3468ff18ee44e9a5b0d4f479c24f720f94f5221450c597c8a39d6fe7")
        );
        std::fs::write(at("text"), b"text").unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        for (path, what) in [
            (at("text"), "neither by gzip nor"),
            (at("empty"), "neither by gzip nor"),
            (at("folder"), "neither by gzip nor"),
            (at("none"), "no such file"),
        ] {
            let file = read(&path);
            assert!(file.sha256.is_none() && file.problem.unwrap().contains(what), "{path}");
        }
    }
}
