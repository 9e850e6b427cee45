//! Certificates, and the files that hold keys.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate as Parsed;

use super::Facts;

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

/// Reads the certificates that postgresql.conf names, and the keys beside them, where SSL is on.
pub fn read(facts: &mut Facts, data_dir: &Path) {
    if facts.settings.is_on("ssl") != Some(true) {
        return;
    }
    let named = |facts: &Facts, name: &str, default: &str| -> Option<PathBuf> {
        let value = facts.settings.get(name).unwrap_or(default).trim();
        (!value.is_empty()).then(|| data_dir.join(value))
    };
    let files = [named(facts, "ssl_cert_file", "server.crt"), named(facts, "ssl_ca_file", "")];
    for path in files.into_iter().flatten() {
        facts.security.certificates.push(certificate(&path));
    }
    if let Some(key) = named(facts, "ssl_key_file", "server.key") {
        for path in [key.clone(), data_dir.join("server.key.cipher"), data_dir.join("server.key.rand")] {
            let meta = std::fs::metadata(&path).ok();
            // The password of the key is there only where the key has one.
            if meta.is_none() && path != key {
                continue;
            }
            facts.security.keys.push(KeyFile {
                path: path.display().to_string(),
                mode: meta.as_ref().map(|meta| meta.permissions().mode() & 0o777),
                uid: meta.map(|meta| meta.uid()),
            });
        }
    }
}

fn certificate(path: &Path) -> Certificate {
    let mut found = Certificate { path: path.display().to_string(), ..Certificate::default() };
    let bytes = match og_common::files::read(path) {
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
