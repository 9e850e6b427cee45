//! Why a build failed, as far as its source and the disk tell: pure.

use og_common::gauss::peer::{ChannelPeer, Found};
use og_common::gauss::server_log::is_out_of_room;
use og_common::gauss::source::Source;
use og_common::protocol::{Bytes, Error, Reason};

/// What to do where WAL senders are short.
pub const RAISE_SENDERS_HINT: &str =
    "raise max_wal_senders on the primary and restart it, or wait until other builds have ended";
/// What to do where the source does not let the node in.
const ADMISSION_HINT: &str = "does the primary name this node in a replconninfo (og_replconninfo), and let its address in by pg_hba.conf (og_hba)?";
/// Less than this is a full disk: a segment of the log is as large.
const DISK_FULL_BELOW: Bytes = Bytes::new(16 << 20);

/// Why a build failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For programs.
    pub reason: Option<Reason>,
    /// In words.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// Returns the cause of a build's failure; `None` when nothing tells it. `words`: what gs_ctl and the built server said;
/// `free`: what is free where the data directory is.
#[must_use]
pub fn find_cause(words: &str, source: &Source, free: Option<Bytes>) -> Option<Cause> {
    if is_out_of_room(words) || free.is_some_and(|free| free < DISK_FULL_BELOW) {
        let free = free.map_or_else(String::new, |free| format!(" ({free} are free)"));
        return Some(Cause {
            reason: Some(Reason::DiskFull),
            detail: format!("the disk of the node is full{free}"),
            hint: "make room on the file system of data_dir and its tablespaces, and call again: the build begins anew"
                .to_owned(),
        });
    }
    let refusal = source.refusal.as_deref().unwrap_or_default();
    let none_left = source.senders.is_some_and(|senders| senders.allowed.saturating_sub(senders.used) < 2);
    if none_left || says_senders_full(refusal) || says_senders_full(words) {
        return Some(Cause {
            reason: Some(Reason::NotEnoughWalSenders),
            detail: no_senders_error(source).failure().detail.clone(),
            hint: RAISE_SENDERS_HINT.to_owned(),
        });
    }
    if let Some(said) = [refusal, words].into_iter().find(|text| says_not_let_in(text)) {
        let line = said.lines().find(|line| says_not_let_in(line)).unwrap_or_default().trim();
        return Some(Cause {
            reason: None,
            detail: format!("{} does not let this node in: {line}", source.address),
            hint: ADMISSION_HINT.to_owned(),
        });
    }
    (!refusal.is_empty()).then(|| Cause {
        reason: None,
        detail: format!("{} says: {refusal}", source.address),
        hint: "inspect the primary first".to_owned(),
    })
}

/// What is known of the source where none of the peers tells that it is a primary: the words of the first that answers.
#[must_use]
pub fn closed_source(peers: &[ChannelPeer]) -> Source {
    let words = |peer: &ChannelPeer| match &peer.found {
        Found::Reserved(words) => Some(words.clone()),
        _ => None,
    };
    let peer = peers.iter().find(|peer| words(peer).is_some()).or(peers.first());
    let Some(peer) = peer else { return Source::default() };
    let address = format!("{}:{}", peer.channel.remote_host, peer.channel.remote_port);
    Source { address, refusal: words(peer), ..Source::default() }
}

/// That the source has too few WAL senders left, with the numbers where they are known.
#[must_use]
pub fn no_senders_error(source: &Source) -> Error {
    let detail = match (source.senders, source.refusal.as_deref()) {
        (Some(senders), _) => format!(
            "{} has {} of {} WAL senders (max_wal_senders) in use, and a full build takes two",
            source.address, senders.used, senders.allowed
        ),
        (None, Some(words)) => format!("{} has no WAL sender left: {words}", source.address),
        (None, None) => format!("{} has too few WAL senders left (max_wal_senders)", source.address),
    };
    Error::refused(detail).reason(Reason::NotEnoughWalSenders)
}

/// Whether the server says that its WAL senders are all in use.
#[must_use]
pub fn says_senders_full(words: &str) -> bool {
    words.contains("max_wal_senders")
}

/// Whether the server says that it does not let this node in.
fn says_not_let_in(words: &str) -> bool {
    [
        "no pg_hba.conf entry",
        "pg_hba.conf rejects",
        "not in the channel list",
        "Forbid remote connection",
        "it wants a password",
    ]
    .iter()
    .any(|said| words.contains(said))
}

/// What to do where no primary could be reached, from what was found at the other ends.
#[must_use]
pub fn unreachable_hint(peers: &[ChannelPeer]) -> String {
    let reserved = |wanted: fn(&str) -> bool| {
        peers.iter().any(|peer| matches!(&peer.found, Found::Reserved(words) if wanted(words)))
    };
    let silent = peers.iter().any(|peer| matches!(peer.found, Found::Silent(_)));
    match () {
        () if peers.is_empty() => "give the node a channel to its primary first: og_replconninfo".to_owned(),
        () if reserved(says_senders_full) => RAISE_SENDERS_HINT.to_owned(),
        () if reserved(says_not_let_in) => ADMISSION_HINT.to_owned(),
        () if silent => "start the primary, or correct the channels (og_replconninfo)".to_owned(),
        () => "make a node the primary first (og_node_state with state primary there)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use og_common::gauss::peer::ChannelEnds;
    use og_common::gauss::source::Senders;

    use super::*;

    fn source() -> Source {
        Source { address: "10.0.0.1:26001".to_owned(), ..Source::default() }
    }

    #[test]
    fn a_full_disk_is_told_as_that() {
        let words = "could not write to file \"/d/base/1/2\": No space left on device";
        let full = find_cause(words, &source(), Some(Bytes::new(3 << 30))).unwrap();
        assert_eq!(full.reason, Some(Reason::DiskFull));
        assert!(full.detail.contains("3.0 GiB are free"), "{full:?}");
        assert_eq!(find_cause("", &source(), Some(Bytes::new(100))).unwrap().reason, Some(Reason::DiskFull));
        assert_eq!(find_cause("", &source(), Some(Bytes::new(3 << 30))), None);
    }

    #[test]
    fn too_few_wal_senders_are_told_with_the_numbers() {
        let senders = |used| Source { senders: Some(Senders { used, allowed: 4 }), ..source() };
        let found = find_cause("", &senders(3), None).unwrap();
        assert_eq!(found.reason, Some(Reason::NotEnoughWalSenders));
        assert!(found.detail.contains("3 of 4 WAL senders"), "{found:?}");
        assert_eq!(find_cause("", &senders(2), None), None);
        let said = "number of requested standby connections exceeds max_wal_senders (currently 4)";
        let refusal = Source { refusal: Some(said.to_owned()), ..source() };
        assert!(find_cause("", &refusal, None).unwrap().detail.contains("currently 4"));
        assert_eq!(find_cause(said, &source(), None).unwrap().reason, Some(Reason::NotEnoughWalSenders));
    }

    #[test]
    fn the_question_of_being_let_in_is_asked_only_where_that_was_seen() {
        let shut =
            Source { refusal: Some("no pg_hba.conf entry for host \"10.0.0.2\"".to_owned()), ..source() };
        assert!(find_cause("", &shut, None).unwrap().hint.contains("og_hba"));
        let busy = Source { refusal: Some("the database system is starting up".to_owned()), ..source() };
        assert!(!find_cause("", &busy, None).unwrap().hint.contains("pg_hba.conf"));
        let found = |found| vec![ChannelPeer { channel: ChannelEnds::default(), found }];
        let source =
            closed_source(&found(Found::Reserved("exceeds max_wal_senders (currently 1)".to_owned())));
        assert!(
            find_cause("", &source, None)
                .unwrap()
                .detail
                .ends_with(":0 has no WAL sender left: exceeds max_wal_senders (currently 1)")
        );
        let reserved = |words: &str| found(Found::Reserved(words.to_owned()));
        assert!(unreachable_hint(&[]).contains("og_replconninfo"));
        assert!(
            unreachable_hint(&found(Found::Silent("connection refused".to_owned())))
                .contains("start the primary")
        );
        assert!(unreachable_hint(&reserved("no pg_hba.conf entry for host")).contains("og_hba"));
        assert!(
            unreachable_hint(&reserved("exceeds max_wal_senders (currently 4)")).contains("max_wal_senders")
        );
    }
}
