//! That none of the nodes could be reached, and why.

use super::Node;

/// What to look at where the caller does not say by what the nodes are reached.
const REACHED_BY: &str = "the nodes' addresses, users and ports in the inventory";
/// At most so many different causes are named.
const MAX_CAUSES: usize = 3;

/// None of the nodes that were asked could be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoneReached {
    /// That it is so, and why.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl NoneReached {
    /// Whether none of the nodes that were asked could be reached; of none that was asked this cannot be said.
    #[must_use]
    pub fn find(nodes: &[Node]) -> Option<Self> {
        let mut asked = nodes.iter().filter(|n| n.seen.is_some()).peekable();
        let reached_by = asked.peek()?.reached_by.as_deref().unwrap_or(REACHED_BY);
        if asked.any(Node::is_reachable) {
            return None;
        }
        let Causes { told, hint } = Causes::find(nodes.iter())?;
        let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
        Some(Self {
            message: format!("no node could be reached: {told}"),
            fix: format!("check {reached_by}{hint}"),
        })
    }

    /// The id of the finding that it is.
    pub const ID: &'static str = "cluster.unreachable";

    /// Returns it as one sentence: what was seen, the id in brackets, and what to do.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} [{}]; {}", self.message, Self::ID, self.fix)
    }
}

/// Why nothing is known of some nodes: they could not be reached, or their state could not be read.
pub(super) struct Causes<'a> {
    /// Each cause once, with the nodes, the commonest first.
    pub told: String,
    /// What to do about the commonest for which its caller says it.
    pub hint: Option<&'a str>,
}

impl<'a> Causes<'a> {
    /// Those of the nodes; `None` where all is known.
    pub fn find(nodes: impl Iterator<Item = &'a Node>) -> Option<Self> {
        let mut causes: Vec<UnreachedCause> = Vec::new();
        let why = |n: &'a Node| n.seen().unreachable.as_deref().or(n.seen().state_error.as_deref());
        for (n, whole) in nodes.filter_map(|n| Some((n, why(n)?))) {
            let hint = n.seen().unreachable_hint.as_deref();
            let detail =
                hint.and_then(|hint| whole.strip_suffix(hint)).map(|text| text.trim_end_matches([' ', ';']));
            let detail = detail.filter(|text| !text.is_empty()).unwrap_or(whole);
            let alike = without_names(detail, n);
            match causes.iter_mut().find(|cause| cause.alike == alike) {
                Some(known) => known.names.push(&n.name),
                None => causes.push(UnreachedCause { detail, hint, alike, names: vec![&n.name] }),
            }
        }
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.names.len()));
        let mut told: Vec<String> = causes.iter().take(MAX_CAUSES).map(UnreachedCause::in_words).collect();
        let rest: Vec<&str> = causes.iter().skip(MAX_CAUSES).flat_map(|cause| cause.names.clone()).collect();
        if !rest.is_empty() {
            told.push(format!("{}: other causes", rest.join(", ")));
        }
        let hint = causes.iter().find_map(|cause| cause.hint);
        (!told.is_empty()).then(|| Self { told: told.join("; "), hint })
    }
}

/// Why nothing is known of nodes, which is the same for all of these.
struct UnreachedCause<'a> {
    /// In the words of the first of them.
    detail: &'a str,
    hint: Option<&'a str>,
    /// The same without what names the node.
    alike: String,
    names: Vec<&'a str>,
}

impl UnreachedCause<'_> {
    fn in_words(&self) -> String {
        let alike = match &self.names[1..] {
            [] => String::new(),
            others => format!(" (likewise {})", others.join(", ")),
        };
        let lines: Vec<&str> = self.detail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        format!("{}: {}{alike}", self.names[0], lines.join(" / "))
    }
}

/// What was said of a node, without its name and address, to be compared with what was said of another one.
fn without_names(text: &str, n: &Node) -> String {
    let host = n.ssh.rsplit_once('@').map_or(n.ssh.as_str(), |(_, host)| host);
    let host = host.rsplit_once(':').filter(|(name, _)| !name.contains(':')).map_or(host, |(name, _)| name);
    let own = [n.name.as_str(), n.address.as_str(), host, n.minion.as_deref().unwrap_or(host)];
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let is_own = |word: &str| own.iter().any(|own| bare(own) == bare(word));
    let words = text.split([' ', '@', '\n', '\r', '\t']).filter(|word| !is_own(word));
    words.collect::<Vec<_>>().join(" ")
}
