//! Certificates, and the files that hold keys.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate as Parsed;

use crate::conf::is_on;

/// Certificates and keys of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Security {
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Files that hold keys or what decrypts them.
    pub keys: Vec<KeyFile>,
}

/// A certificate; of a file with several, the one that ends first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Certificate {
    /// Its file.
    pub path: String,
    /// When it ends, in seconds since 1970.
    pub not_after: Option<u64>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// A file that holds a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeyFile {
    /// The file.
    pub path: String,
    /// Its mode; null when it is not there.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: Option<u32>,
}

impl Security {
    /// Reads the certificates that the server's settings name, and the keys beside them, where SSL is on; `setting` is the
    /// value of a parameter, where it is set.
    #[must_use]
    pub fn read(data_dir: &Path, setting: impl Fn(&str) -> Option<String>) -> Self {
        let mut found = Self::default();
        if !setting("ssl").is_some_and(|value| is_on(&value)) {
            return found;
        }
        let named = |name: &str, default: &str| -> Option<PathBuf> {
            let value = setting(name).unwrap_or_else(|| default.to_owned());
            let value = value.trim();
            (!value.is_empty()).then(|| data_dir.join(value))
        };
        let files = [named("ssl_cert_file", "server.crt"), named("ssl_ca_file", "")];
        found.certificates = files.into_iter().flatten().map(|path| certificate(&path)).collect();
        let Some(key) = named("ssl_key_file", "server.key") else { return found };
        for path in [key.clone(), data_dir.join("server.key.cipher"), data_dir.join("server.key.rand")] {
            let meta = std::fs::metadata(&path).ok();
            // The password of the key is there only where the key has one.
            if meta.is_none() && path != key {
                continue;
            }
            found.keys.push(KeyFile {
                path: path.display().to_string(),
                mode: meta.as_ref().map(|meta| meta.permissions().mode() & 0o777),
                uid: meta.map(|meta| meta.uid()),
            });
        }
        found
    }
}

fn certificate(path: &Path) -> Certificate {
    let mut found = Certificate { path: path.display().to_string(), ..Certificate::default() };
    let bytes = match crate::files::read(path) {
        Ok(bytes) => bytes,
        Err(e) => {
            found.problem = Some(e.failure().detail.clone());
            return found;
        }
    };
    match Parsed::load_pem_chain(&bytes) {
        Ok(chain) => {
            let ends = chain
                .iter()
                .map(|one| one.tbs_certificate().validity().not_after.to_unix_duration().as_secs());
            found.not_after = ends.min();
        }
        Err(e) => found.problem = Some(format!("it is no certificate in PEM: {e}")),
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Made with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -days 3650`; of its key
    /// nothing is kept.
    const CERTIFICATE: &str = include_str!("../../tests/server.crt");

    #[test]
    fn certificates_and_keys_are_read_where_ssl_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str, mode| {
            std::fs::write(dir.path().join(name), text).unwrap();
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("server.crt", CERTIFICATE, 0o644);
        put("server.key", "key", 0o640);
        put("server.key.cipher", "cipher", 0o600);
        assert_eq!(Security::read(dir.path(), |_| None), Security::default(), "SSL is not known to be on");
        let settings = [("ssl", "on"), ("ssl_ca_file", "missing.pem")];
        let setting =
            |name: &str| settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let found = Security::read(dir.path(), setting);
        let [own, authority] = &found.certificates[..] else { panic!("{found:?}") };
        assert!(own.not_after.is_some_and(|end| end > 1_700_000_000), "{own:?}");
        assert!(authority.not_after.is_none() && authority.problem.is_some(), "{authority:?}");
        let modes: Vec<Option<u32>> = found.keys.iter().map(|key| key.mode).collect();
        assert_eq!(modes, [Some(0o640), Some(0o600)]);
    }
}
