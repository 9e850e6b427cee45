//! The certificates on this machine that the nodes get: a folder with `cacert.pem`, and for each node `NODE/server.crt` and
//! `NODE/server.key`.
//!
//! No signature is verified, nor whom a certificate names; a key is held against its certificate where it is one of RSA. Of a key
//! nothing is told but the hash of its file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use og_common::gauss::certificates::{CERTIFICATE_WARN_DAYS, decode_pem, not_after, pem_blocks, read_chain};
use og_common::protocol::{Bytes, Error};
use og_common::{clock, files};
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Tag, Tagged};

use crate::args::{CertificateFile, CertificateFolder};

/// The file with the certificates of the authorities, in the folder and on a node.
pub const AUTHORITY: &str = "cacert.pem";
/// The file with a node's certificate.
pub const CERTIFICATE: &str = "server.crt";
/// The file with its key.
pub const KEY: &str = "server.key";
/// Bits of a mode by which others may do anything with a file.
const OTHERS: u32 = 0o077;
/// Whether a folder may have the name of this node.
#[must_use]
pub fn is_folder_name(node: &str) -> bool {
    !node.is_empty() && !node.contains('/') && node != "." && node != ".."
}

/// Reads the files of these nodes in the folder, and finds what is wrong with them at this time, in seconds since 1970.
#[must_use]
pub fn read(folder: &Path, nodes: &[String], now: u64) -> CertificateFolder {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut reading = Reading { found: CertificateFolder::default(), now };
    let (authority, authorities) = reading.certificates(&folder.join(AUTHORITY), AUTHORITY);
    for node in nodes {
        if !is_folder_name(node) {
            reading.found.problems.push(format!("a folder for {node:?} cannot have its name"));
            continue;
        }
        let path = folder.join(node).join(CERTIFICATE);
        let (certificate, chain) = reading.certificates(&path, CERTIFICATE);
        if !chain.is_empty() && !authorities.is_empty() && !is_issued(&chain, &authorities) {
            let what = format!("{} was issued by none of the certificates in {AUTHORITY}", path.display());
            reading.found.problems.push(what);
        }
        let key = reading.key(&folder.join(node).join(KEY), chain.first());
        let files = [authority.clone(), certificate, key].into_iter().flatten().collect();
        reading.found.nodes.insert(node.clone(), files);
    }
    reading.found
}

/// What is found, file by file.
struct Reading {
    found: CertificateFolder,
    now: u64,
}

impl Reading {
    fn content(&mut self, path: &Path) -> Option<Vec<u8>> {
        match files::read(path) {
            Ok(content) => Some(content),
            Err(e) => {
                self.found.problems.push(e.failure().detail.clone());
                None
            }
        }
    }

    /// A file with certificates, and these.
    fn certificates(&mut self, path: &Path, name: &str) -> (Option<CertificateFile>, Vec<Certificate>) {
        let Some(content) = self.content(path) else { return (None, Vec::new()) };
        let parsed = read_chain(&content).unwrap_or_default();
        if parsed.is_empty() {
            self.found.problems.push(format!("{} holds no certificate in PEM", path.display()));
        }
        // Of several the one that ends first decides.
        if let Some(end) = parsed.iter().map(not_after).min() {
            let days = end.saturating_sub(self.now) / 86_400;
            let (path, at) = (path.display(), clock::rfc3339(end));
            if end <= self.now {
                self.found.problems.push(format!("{path} expired at {at}; have it renewed"));
            } else if days < CERTIFICATE_WARN_DAYS {
                self.found.warnings.push(format!("{path} expires in {days} days, at {at}; have it renewed"));
            }
        }
        if let Some(begin) = parsed.iter().map(begin).max().filter(|begin| *begin > self.now) {
            let at = clock::rfc3339(begin);
            self.found.problems.push(format!("{} does not count before {at}", path.display()));
        }
        (Some(file(path, name, &content)), parsed)
    }

    /// The file with the key of this certificate.
    fn key(&mut self, path: &Path, certificate: Option<&Certificate>) -> Option<CertificateFile> {
        let content = self.content(path)?;
        let problem = match std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o7777) {
            Err(e) => Some(Error::io("inspect", path, &e).failure().detail.clone()),
            Ok(mode) if mode & OTHERS != 0 => {
                Some(format!("{0} is open to others (mode {mode:04o}); chmod 0600 {0}", path.display()))
            }
            Ok(_) => key_problem(&content, certificate).map(|what| format!("{} {what}", path.display())),
        };
        self.found.problems.extend(problem);
        Some(file(path, KEY, &content))
    }
}

fn file(path: &Path, name: &str, content: &[u8]) -> CertificateFile {
    CertificateFile {
        path: path.display().to_string(),
        name: name.to_owned(),
        size: Bytes::new(content.len() as u64),
        sha256: files::sha256_of_bytes(content),
    }
}

fn begin(certificate: &Certificate) -> u64 {
    certificate.tbs_certificate().validity().not_before.to_unix_duration().as_secs()
}

/// Whether one of a chain names one of the authorities as its issuer.
fn is_issued(chain: &[Certificate], authorities: &[Certificate]) -> bool {
    let mut issuers = chain.iter().map(|one| one.tbs_certificate().issuer());
    issuers.any(|issuer| authorities.iter().any(|one| one.tbs_certificate().subject() == issuer))
}

/// Why this is no key for the certificate, as what follows its path.
fn key_problem(content: &[u8], certificate: Option<&Certificate>) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let Some(block) = pem_blocks(&text, "PRIVATE KEY").next() else {
        return Some("holds no private key in PEM".to_owned());
    };
    // In its label, or in the header `Proc-Type: 4,ENCRYPTED` of the older form.
    if block.lines().take(2).any(|line| line.contains("ENCRYPTED")) {
        return Some("has a passphrase; give the key without one".to_owned());
    }
    match decode_pem(block) {
        Err(_) => Some("holds no private key in PEM".to_owned()),
        Ok(der) => {
            let is_other = certificate.is_some_and(|certificate| !may_belong(&der, certificate));
            is_other.then(|| format!("does not belong to {CERTIFICATE} beside it"))
        }
    }
}

/// Whether the key may be that of the certificate.
fn may_belong(key: &[u8], certificate: &Certificate) -> bool {
    let info = certificate.tbs_certificate().subject_public_key_info();
    // A public key of RSA is a SEQUENCE of two numbers, which the private one has after its version. Keys of other kinds may
    // leave their public part out.
    rsa_numbers(info.subject_public_key.raw_bytes())
        .is_none_or(|numbers| key.windows(numbers.len()).any(|window| window == numbers))
}

/// The two numbers of a public key of RSA in DER; none of a key of another kind.
fn rsa_numbers(public_key: &[u8]) -> Option<&[u8]> {
    let whole = AnyRef::from_der(public_key).ok().filter(|whole| whole.tag() == Tag::Sequence)?;
    Some(whole.value()).filter(|numbers| !numbers.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Made by `openssl req` and `openssl x509` with RSA of 2048 bits for a hundred years; of the keys nothing is kept.
    const CA: &str = include_str!("../tests/certificates/cacert.pem");
    const N1: &str = include_str!("../tests/certificates/n1.crt");
    const OTHER: &str = include_str!("../tests/certificates/other.crt");

    struct Folder(tempfile::TempDir);

    impl Folder {
        /// Of one node, with nothing wrong.
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(folder.0.path().join("n1")).unwrap();
            folder.write(AUTHORITY, CA, 0o644);
            folder.write("n1/server.crt", N1, 0o644);
            folder.write("n1/server.key", &key_of(N1, "PRIVATE KEY"), 0o600);
            folder
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn read_at(&self, now: u64) -> CertificateFolder {
            read(self.0.path(), &["n1".to_owned()], now)
        }

        fn problem(&self) -> String {
            let mut found = self.read_at(now_of(N1)).problems;
            assert_eq!(found.len(), 1, "{found:?}");
            found.remove(0)
        }
    }

    fn now_of(certificate: &str) -> u64 {
        begin(&read_chain(certificate.as_bytes()).unwrap()[0]) + 86_400
    }

    /// What has the public numbers of this certificate where a private key of RSA has them.
    fn key_of(certificate: &str, label: &str) -> String {
        let parsed = &read_chain(certificate.as_bytes()).unwrap()[0];
        let info = parsed.tbs_certificate().subject_public_key_info();
        let numbers = rsa_numbers(info.subject_public_key.raw_bytes()).unwrap();
        let der = [&[0x30, 3, 2, 1, 0], numbers].concat();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    #[test]
    fn each_node_has_three_files_with_their_hashes() {
        let folder = Folder::new();
        let found = folder.read_at(now_of(N1));
        assert!(found.problems.is_empty() && found.warnings.is_empty(), "{found:?}");
        let names: Vec<_> = found.nodes["n1"].iter().map(|file| (&*file.name, file.sha256.len())).collect();
        assert_eq!(names, [(AUTHORITY, 64), (CERTIFICATE, 64), (KEY, 64)]);
        assert!(found.nodes["n1"][2].path.ends_with("/n1/server.key"));
        assert!(!serde_json::to_string(&found).unwrap().contains("PRIVATE"), "of a key its hash is told");
    }

    #[test]
    fn what_a_server_could_not_use_is_named_with_its_path() {
        type Fault = fn(&Folder);
        let cases: [(Fault, &str); 10] = [
            (|f| std::fs::remove_file(f.0.path().join(AUTHORITY)).unwrap(), "/cacert.pem: no such file"),
            (|f| std::fs::remove_file(f.0.path().join("n1/server.key")).unwrap(), "/n1/server.key: no such"),
            (|f| f.write("n1/server.crt", "text", 0o644), "/n1/server.crt holds no certificate in PEM"),
            (|f| f.write("n1/server.key", "text", 0o600), "/n1/server.key holds no private key in PEM"),
            (
                |f| f.write("n1/server.key", &key_of(N1, "PRIVATE KEY"), 0o640),
                "is open to others (mode 0640)",
            ),
            (|f| f.write("n1/server.key", &key_of(N1, "ENCRYPTED PRIVATE KEY"), 0o600), "has a passphrase"),
            (
                |f| {
                    let begin = "-----BEGIN RSA PRIVATE KEY-----\n";
                    let key = key_of(N1, "RSA PRIVATE KEY");
                    let key = key.replace(begin, &format!("{begin}Proc-Type: 4,ENCRYPTED\n\n"));
                    f.write("n1/server.key", &key, 0o600);
                },
                "has a passphrase",
            ),
            (
                |f| f.write("n1/server.key", &key_of(CA, "PRIVATE KEY"), 0o600),
                "does not belong to server.crt",
            ),
            (|f| f.write(AUTHORITY, OTHER, 0o644), "n1/server.crt was issued by none of the certificates"),
            (|f| f.write(AUTHORITY, N1, 0o644), "n1/server.crt was issued by none of the certificates"),
        ];
        for (fault, what) in cases {
            let folder = Folder::new();
            fault(&folder);
            let problem = folder.problem();
            assert!(problem.contains(what), "{what}: {problem}");
        }
        // Text before a certificate, as openssl writes it, and keys of the older form are as good.
        let folder = Folder::new();
        folder.write("n1/server.crt", &format!("Certificate:\n    Data:\n{N1}"), 0o644);
        folder.write("n1/server.key", &key_of(N1, "RSA PRIVATE KEY"), 0o400);
        assert_eq!(folder.read_at(now_of(N1)).problems, Vec::<String>::new());
        let found = read(folder.0.path(), &["../n1".to_owned()], now_of(N1));
        assert!(found.problems[0].contains("cannot have its name") && found.nodes.is_empty());
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_and_one_that_has_ended_is_a_problem() {
        let folder = Folder::new();
        let parsed = &read_chain(N1.as_bytes()).unwrap()[0];
        let at = |now: u64| {
            let found = folder.read_at(now);
            let of_node = |list: &[String]| list.iter().filter(|text| text.contains("n1/server.crt")).count();
            (of_node(&found.problems), of_node(&found.warnings))
        };
        assert_eq!(at(not_after(parsed) - 91 * 86_400), (0, 0));
        assert_eq!(at(not_after(parsed) - 89 * 86_400), (0, 1));
        assert_eq!(at(not_after(parsed)), (1, 0));
        assert_eq!(at(begin(parsed) - 1), (1, 0));
    }
}
