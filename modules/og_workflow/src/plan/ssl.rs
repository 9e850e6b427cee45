//! SSL of nodes that get certificates.

use og_common::conf::is_on;

use super::Settings;
use crate::args::Options;
use crate::certificates::{AUTHORITY, CERTIFICATE, KEY};
use crate::cluster::{Cluster, Node};

/// The parameter that turns it on.
pub const SSL: &str = "ssl";
/// The parameters that name the files.
pub const CERT_FILE: &str = "ssl_cert_file";
/// The key's.
pub const KEY_FILE: &str = "ssl_key_file";
/// That of the certificates of authorities.
pub const CA_FILE: &str = "ssl_ca_file";

/// Returns what a new node is set to; nothing where it gets no certificates.
pub(super) fn settings(options: &Options) -> Settings {
    if options.og_ssl.is_empty() {
        return Settings::new();
    }
    let own = [(SSL, "on"), (CERT_FILE, CERTIFICATE), (KEY_FILE, KEY), (CA_FILE, AUTHORITY)];
    own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whether it is one of these parameters.
pub(super) fn is_own(name: &str) -> bool {
    [SSL, CERT_FILE, KEY_FILE, CA_FILE].contains(&name)
}

/// Warns of a node that stays without SSL, as it is not built in this run.
pub(super) fn warn_of_member(c: &mut Cluster, n: &Node, options: &Options) {
    if !options.og_ssl.is_empty() && n.is_reachable() && !n.works_with(SSL).is_some_and(is_on) {
        c.warnings.push(format!(
            "{}: has no SSL and stays so: og_ssl counts for nodes that are new; docs/ssl.md says how it is turned on there",
            n.name
        ));
    }
}
