//! Certificates, and the files that hold keys.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate as Parsed;
use x509_cert::der::{Decode, pem};

use crate::conf::is_on;

/// Days before its end from which on a certificate is warned of, as openGauss's CM does (`ssl_cert_expire_alert_threshold`).
pub const CERTIFICATE_WARN_DAYS: u64 = 90;

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
    match read_chain(&bytes) {
        Ok(chain) => found.not_after = chain.iter().map(not_after).min(),
        Err(why) => found.problem = Some(format!("it is no certificate in PEM: {why}")),
    }
    found
}

/// When the certificate ends, in seconds since 1970.
#[must_use]
pub fn not_after(certificate: &Parsed) -> u64 {
    certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs()
}

/// The certificates in a file of PEM, in their order, at least one. As for OpenSSL, text may stand around them.
///
/// # Errors
/// Why there is none, or why one of them cannot be read.
pub fn read_chain(content: &[u8]) -> Result<Vec<Parsed>, String> {
    let text = String::from_utf8_lossy(content);
    let parse = |block| Parsed::from_der(&decode_pem(block)?);
    let chain: Result<Vec<_>, x509_cert::der::Error> = pem_blocks(&text, "CERTIFICATE").map(parse).collect();
    let chain = chain.map_err(|e| e.to_string())?;
    if chain.is_empty() { Err("there is no BEGIN CERTIFICATE".to_owned()) } else { Ok(chain) }
}

/// The blocks of PEM in a text whose label ends so, each from its `BEGIN` line to its `END` line.
pub fn pem_blocks<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
    const BEGIN: &str = "-----BEGIN ";
    let end_of = |rest: &str| {
        let end = rest.find("-----END ")?;
        Some(rest[end..].find('\n').map_or(rest.len(), |line| end + line))
    };
    text.match_indices(BEGIN).filter_map(move |(at, _)| {
        let rest = &text[at..];
        let is_asked = rest.lines().next()?.trim_end().strip_suffix("-----")?.ends_with(label);
        is_asked.then_some(&rest[..end_of(rest)?])
    })
}

/// What a block of PEM holds, with lines of any one length.
///
/// # Errors
/// It is no PEM, or has headers, as an encrypted key of the older form has.
pub fn decode_pem(block: &str) -> Result<Vec<u8>, pem::Error> {
    let mut der = Vec::new();
    pem::Decoder::new_detect_wrap(block.as_bytes())?.decode_to_end(&mut der)?;
    Ok(der)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Made with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -days 3650`; of its key
    /// nothing is kept.
    const CERTIFICATE: &str = include_str!("../../tests/server.crt");

    #[test]
    fn a_chain_is_read_as_openssl_reads_it() {
        let one = read_chain(CERTIFICATE.as_bytes()).unwrap();
        let (begin, rest) = CERTIFICATE.trim_end().split_once('\n').unwrap();
        let (base64, end) = rest.rsplit_once('\n').unwrap();
        let base64: Vec<char> = base64.chars().filter(|c| !c.is_whitespace()).collect();
        // Lines of another length, line ends of another system, text around and between.
        let lines: Vec<String> = base64.chunks(76).map(|line| line.iter().collect()).collect();
        let wide = format!("{begin}\r\n{}\r\n{end}\r\n", lines.join("\r\n"));
        let chain = format!("Certificate:\n    Data:\n{CERTIFICATE}between\n{wide}\n# the end ");
        assert_eq!(read_chain(chain.as_bytes()).unwrap(), [&one[..], &one[..]].concat());
        for text in [
            "",
            "text",
            &CERTIFICATE[..200],
            &CERTIFICATE.replace("MII", "AAA"),
            &format!("{CERTIFICATE}{begin}\n*\n{end}\n"),
        ] {
            assert!(read_chain(text.as_bytes()).is_err(), "{text}");
        }
        let key = "-----BEGIN EC PARAMETERS-----\nAA==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let blocks: Vec<&str> = pem_blocks(key, "PRIVATE KEY").collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(decode_pem(blocks[0]).unwrap(), [0, 0, 0]);
    }

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
