//! Availability zones: in some releases a cascade standby of another zone than its upstream is turned away.

use og_common::conf::is_on;
use og_common::gauss::Version;
use og_common::gauss::version::ZoneCheck;

use crate::cluster::Node;

/// The parameter of a server's zone.
pub const ZONE: &str = "available_zone";
/// The parameter by which later releases compare them.
pub const ENABLE: &str = "enable_availablezone";

/// That a new cascade standby has the zone of none of the standbys that it may follow, where their release compares them.
#[must_use]
pub fn mismatch(cascade: &Node, standbys: &[&Node]) -> Option<String> {
    let zone = |n: &Node| n.seen().parameters.get(ZONE).cloned().flatten().unwrap_or_else(|| n.zone.clone());
    let compares = |n: &&&Node| {
        let on = n.seen().parameters.get(ENABLE).cloned().flatten().is_some_and(|value| is_on(&value));
        let release = n.state().version.as_deref().and_then(Version::parse);
        on || release.is_some_and(|release| release.zone_check() == ZoneCheck::Always)
    };
    let comparing: Vec<&&Node> = standbys.iter().filter(compares).collect();
    if comparing.is_empty() || standbys.iter().any(|n| zone(n) == cascade.zone) {
        return None;
    }
    let theirs: Vec<String> = comparing.iter().map(|n| format!("{} in {}", n.name, zone(n))).collect();
    Some(format!(
        "{}: a standby takes only cascade standbys of its own zone ({ZONE}), and this one is to be in {}: {}",
        cascade.name,
        cascade.zone,
        theirs.join(", ")
    ))
}
