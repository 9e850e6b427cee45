//! From the channels that are to the channels that shall be.

use og_common::{
    conf::{ConfFile, is_on},
    gauss::{
        Version,
        version::{DEFAULT_MAX_CHANNELS, LARGEST_MAX_CHANNELS},
    },
    protocol::Error,
    replconn::{ChannelEnd, NumberedChannel, ReplicationChannel},
};

use crate::args::{Args, Place, State};

/// What one replconninfoN holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelParameter {
    /// Not set, or set to nothing.
    Empty,
    /// A channel, and its text.
    Channel(ReplicationChannel, String),
    /// A text with which the server would not start, and why.
    Broken(String, String),
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    state: State,
    local: Option<Place>,
    peers: Vec<(Place, Option<bool>, Option<bool>)>,
}

/// The change of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The file as it shall be.
    pub file: ConfFile,
    /// The channels as they shall be.
    pub channels: Vec<NumberedChannel>,
    /// Numbers that get a channel.
    pub added: Vec<usize>,
    /// Numbers that lose theirs.
    pub removed: Vec<usize>,
    /// Numbers that get another one.
    pub updated: Vec<usize>,
    /// The parameters that change.
    pub changed: Vec<String>,
    /// What is done, for people.
    pub actions: Vec<String>,
    /// Things to look at.
    pub warnings: Vec<String>,
}

impl Wanted {
    /// Checks the arguments, as far as that needs no file.
    ///
    /// # Errors
    /// `bad_args` with the place of the argument; `refused` when there are more peers than numbers.
    pub fn from_args(args: &Args) -> Result<Self, Error> {
        let local = args.local.as_ref().map(Place::from_local).transpose()?;
        let mut peers: Vec<(Place, Option<bool>, Option<bool>)> = Vec::new();
        for (index, peer) in args.peers.iter().enumerate() {
            let place = Place::from_peer(index, peer, args.state == State::Absent)?;
            let at = format!("/peers/{index}");
            if peers.iter().any(|(other, ..)| other.host == place.host && other.port == place.port) {
                return Err(Error::bad_args(format!("the peer {} is given twice", place.host)).with_path(at));
            }
            if local.as_ref().is_some_and(|local| local.host == place.host && local.port == place.port) {
                return Err(
                    Error::bad_args(format!("the peer {} is this node itself", place.host)).with_path(at)
                );
            }
            peers.push((place, peer.cascade, peer.cross_region));
        }
        if local.is_none() && !peers.is_empty() && matches!(args.state, State::Exact | State::Present) {
            return Err(
                Error::bad_args("local is needed: this node's end of the channels").with_path("/local")
            );
        }
        if args.state != State::Absent && peers.len() > LARGEST_MAX_CHANNELS {
            return Err(too_many_error(peers.len(), LARGEST_MAX_CHANNELS));
        }
        Ok(Self { state: args.state, local, peers })
    }

    /// Whether the channel of this number is one to be taken away.
    fn is_unwanted(&self, slot: &ChannelParameter) -> bool {
        self.peers.iter().any(|(place, ..)| leads_to(slot, place))
    }

    /// This node's host, if channels with it are to be written.
    #[must_use]
    pub fn local(&self) -> Option<&Place> {
        self.local.as_ref().filter(|_| !self.peers.is_empty() && self.state != State::Absent)
    }
}

/// How many channels a server has; of an unknown release as many as all have.
#[must_use]
pub fn max_channels(release: Option<&Version>) -> usize {
    release.map_or(DEFAULT_MAX_CHANNELS, Version::max_channels)
}

/// What the first `most` parameters hold.
#[must_use]
pub fn read_channels(file: &ConfFile, most: usize) -> Vec<ChannelParameter> {
    let slot = |number| {
        let Some(setting) = file.get(&parameter_name(number)) else { return ChannelParameter::Empty };
        let text = setting.text().into_owned();
        if !setting.is_text() {
            return ChannelParameter::Broken(text, "it is not UTF-8".into());
        }
        match ReplicationChannel::parse(&text) {
            Ok(None) => ChannelParameter::Empty,
            Ok(Some(channel)) => ChannelParameter::Channel(channel, text),
            Err(error) => ChannelParameter::Broken(text, error.to_string()),
        }
    };
    (1..=most).map(slot).collect()
}

/// Parameters that look like channels and that a server with `most` of them does not know, each with its line: it would
/// not start with one.
#[must_use]
pub fn unknown_channels(file: &ConfFile, most: usize) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for setting in file.settings() {
        let lower = setting.name.to_ascii_lowercase();
        let Some(number) =
            lower.strip_prefix("replconninfo").filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let known = number.parse::<usize>().is_ok_and(|n| (1..=most).contains(&n) && n.to_string() == number);
        if !known && !number.is_empty() && !found.iter().any(|(name, _)| *name == lower) {
            found.push((lower, setting.line));
        }
    }
    found
}

/// The channels with their numbers.
#[must_use]
pub fn number_channels(slots: &[ChannelParameter]) -> Vec<NumberedChannel> {
    let channel = |(index, slot): (usize, &ChannelParameter)| match slot {
        ChannelParameter::Channel(channel, _) => {
            Some(NumberedChannel { number: index + 1, channel: channel.clone() })
        }
        _ => None,
    };
    slots.iter().enumerate().filter_map(channel).collect()
}

/// Whether the plan may be another one for some release than for an unknown one.
#[must_use]
pub fn needs_release(file: &ConfFile, wanted: &Wanted) -> bool {
    let slots = read_channels(file, DEFAULT_MAX_CHANNELS);
    let moves = wanted.state == State::Absent && {
        let goes = slots.iter().position(|slot| wanted.is_unwanted(slot));
        goes.is_some_and(|at| {
            slots[at..].iter().any(|slot| *slot != ChannelParameter::Empty && !wanted.is_unwanted(slot))
        })
    };
    let used = slots.iter().filter(|slot| **slot != ChannelParameter::Empty).count();
    let wants = match wanted.state {
        State::Exact => wanted.peers.len(),
        State::Present => used + wanted.peers.len(),
        State::Absent | State::Query => 0,
    };
    moves || wants > DEFAULT_MAX_CHANNELS || !unknown_channels(file, DEFAULT_MAX_CHANNELS).is_empty()
}

/// What has to change, on a server of this release.
///
/// # Errors
/// `refused` when there are not numbers enough; `corrupt` when a value cannot be understood and is not to be replaced.
pub fn plan(file: &ConfFile, wanted: &Wanted, release: Option<&Version>) -> Result<Plan, Error> {
    let most = max_channels(release);
    let before = read_channels(file, most);
    let after = match wanted.state {
        State::Query => before.clone(),
        State::Exact if wanted.peers.len() > most => return Err(too_many_error(wanted.peers.len(), most)),
        State::Exact => plan_exact(&before, wanted),
        State::Present => plan_present(require_unbroken(file, &before)?, wanted)?,
        State::Absent => plan_absent(require_unbroken(file, &before)?, wanted, release),
    };
    let mut plan = Plan { file: file.clone(), channels: number_channels(&after), ..Plan::default() };
    for (index, (old, new)) in before.iter().zip(&after).enumerate() {
        let (number, name) = (index + 1, parameter_name(index + 1));
        let changed = match (old, new) {
            (old, new) if old == new => continue,
            (_, ChannelParameter::Channel(_, text)) => plan.file.set(&name, text)?,
            _ => plan.file.unset(&name),
        };
        let (list, action) = match (old, new) {
            (ChannelParameter::Empty, ChannelParameter::Channel(channel, _)) => {
                (&mut plan.added, format!("add {name} to {}", describe_remote(channel)))
            }
            (_, ChannelParameter::Channel(channel, _)) => {
                (&mut plan.updated, format!("change {name}, now to {}", describe_remote(channel)))
            }
            (ChannelParameter::Channel(channel, _), _) => {
                (&mut plan.removed, format!("remove {name}, was to {}", describe_remote(channel)))
            }
            _ => (&mut plan.removed, format!("remove {name}")),
        };
        if changed {
            list.push(number);
            plan.actions.push(action);
            plan.changed.push(name);
        }
    }
    for (name, line) in unknown_channels(file, most) {
        if wanted.state == State::Exact {
            plan.file.unset(&name);
            plan.actions.push(format!("remove {name}, which a server does not have"));
            plan.changed.push(name);
        } else {
            plan.warnings.push(unknown_channel_message(&name, line, most));
        }
    }
    Ok(plan)
}

/// That the server does not know a parameter.
#[must_use]
pub fn unknown_channel_message(name: &str, line: usize, most: usize) -> String {
    format!("line {line} sets {name}, and a server has {most} channels: it would not start")
}

/// Refuses channels of a server with uwal on that lack its keys: it writes its log to their addresses.
///
/// # Errors
/// `refused`.
pub fn check_uwal(plan: &Plan) -> Result<(), Error> {
    if !plan.file.get("enable_uwal").is_some_and(|setting| is_on(&setting.text())) {
        return Ok(());
    }
    let lacks = |numbered: &&NumberedChannel| {
        let touched = plan.added.contains(&numbered.number) || plan.updated.contains(&numbered.number);
        touched && !numbered.channel.extra.iter().any(|word| word.starts_with("remoteuwalhost="))
    };
    match plan.channels.iter().find(lacks) {
        None => Ok(()),
        Some(numbered) => Err(Error::refused(format!(
            "enable_uwal is on, and {} would lack remotenodeid, remoteuwalhost and remoteuwalport",
            parameter_name(numbered.number)
        ))
        .with_path("/peers")
        .hint("set the whole value with og_guc; force: true leaves the keys out")),
    }
}

fn plan_exact(before: &[ChannelParameter], wanted: &Wanted) -> Vec<ChannelParameter> {
    let mut after: Vec<ChannelParameter> =
        (0..wanted.peers.len()).map(|index| plan_channel(before, wanted, index)).collect();
    after.resize(before.len().max(after.len()), ChannelParameter::Empty);
    after
}

fn plan_present(mut slots: Vec<ChannelParameter>, wanted: &Wanted) -> Result<Vec<ChannelParameter>, Error> {
    for (index, (place, ..)) in wanted.peers.iter().enumerate() {
        let at = slots.iter().position(|slot| leads_to(slot, place));
        let at = at.or_else(|| slots.iter().position(|slot| *slot == ChannelParameter::Empty));
        let Some(at) = at else {
            return Err(too_many_error(slots.len() + 1, slots.len()));
        };
        slots[at] = plan_channel(&slots, wanted, index);
    }
    Ok(slots)
}

/// Later channels move up where a removal ends every replication connection anyway; where only those of channels that
/// change end, the others keep their numbers, but for number 1, by which alone a single node becomes primary.
fn plan_absent(
    slots: Vec<ChannelParameter>,
    wanted: &Wanted,
    release: Option<&Version>,
) -> Vec<ChannelParameter> {
    let goes = |slot: &ChannelParameter| wanted.is_unwanted(slot);
    let Some(first) = slots.iter().position(goes) else { return slots };
    let most = slots.len();
    if release.is_none_or(Version::reload_cuts_all_streams) {
        let moved = slots[first..].iter().filter(|slot| !goes(slot) && **slot != ChannelParameter::Empty);
        let mut after: Vec<ChannelParameter> = slots[..first].iter().chain(moved).cloned().collect();
        after.resize(most, ChannelParameter::Empty);
        return after;
    }
    let mut after: Vec<ChannelParameter> =
        slots.into_iter().map(|slot| if goes(&slot) { ChannelParameter::Empty } else { slot }).collect();
    if first == 0
        && let Some(last) = after.iter().rposition(|slot| *slot != ChannelParameter::Empty)
    {
        after.swap(0, last);
    }
    after
}

/// The channel to the peer as it is wanted; its text stays where it says the same.
fn plan_channel(present: &[ChannelParameter], wanted: &Wanted, index: usize) -> ChannelParameter {
    let (place, cascade, cross_region) = &wanted.peers[index];
    let old = present.iter().find_map(|slot| match slot {
        ChannelParameter::Channel(channel, text) if place.is_at_end(&channel.remote) => Some((channel, text)),
        _ => None,
    });
    let keep = wanted.state == State::Present;
    let flag = |wish: &Option<bool>, now: Option<bool>| wish.unwrap_or(keep && now.unwrap_or(false));
    let local = wanted.local.as_ref().unwrap_or(place);
    let channel = ReplicationChannel {
        local: plan_end(local, old.map(|(channel, _)| &channel.local)),
        remote: plan_end(place, old.map(|(channel, _)| &channel.remote)),
        cascade: flag(cascade, old.map(|(channel, _)| channel.cascade)),
        cross_region: flag(cross_region, old.map(|(channel, _)| channel.cross_region)),
        extra: old.map(|(channel, _)| channel.extra.clone()).unwrap_or_default(),
        more: old.map(|(channel, _)| channel.more.clone()).unwrap_or_default(),
    };
    match old {
        Some((same, text)) if *same == channel => ChannelParameter::Channel(channel, text.clone()),
        _ => {
            let text = channel.to_string();
            ChannelParameter::Channel(channel, text)
        }
    }
}

fn plan_end(wish: &Place, old: Option<&ChannelEnd>) -> ChannelEnd {
    ChannelEnd {
        host: wish.host.clone(),
        port: wish.port.or(old.map(|old| old.port)).unwrap_or_default(),
        heartbeat_port: wish.heartbeat_port.or(old.and_then(|old| old.heartbeat_port)),
        service_port: wish.service_port.or(old.and_then(|old| old.service_port)),
    }
}

fn leads_to(slot: &ChannelParameter, place: &Place) -> bool {
    matches!(slot, ChannelParameter::Channel(channel, _) if place.is_at_end(&channel.remote))
}

/// The slots, none of them broken.
fn require_unbroken(file: &ConfFile, slots: &[ChannelParameter]) -> Result<Vec<ChannelParameter>, Error> {
    for (index, slot) in slots.iter().enumerate() {
        if let ChannelParameter::Broken(text, why) = slot {
            let name = parameter_name(index + 1);
            let line = file.get(&name).map_or(0, |setting| setting.line);
            return Err(Error::corrupt(format!(
                "postgresql.conf: line {line}, column 1: {name} = '{text}' is no channel: {why}; the server would not start"
            ))
            .hint(format!("use state: exact, or take it out with og_guc, state: absent, names: [{name}]")));
        }
    }
    Ok(slots.to_vec())
}

fn too_many_error(wanted: usize, most: usize) -> Error {
    Error::refused(format!("{wanted} channels are wanted, and a server has {most}"))
        .hint("let further standbys follow a standby (cascade)")
        .with_path("/peers")
}

fn describe_remote(channel: &ReplicationChannel) -> String {
    let host = channel.remote.host.text();
    if host.contains(':') {
        format!("[{host}]:{}", channel.remote.port)
    } else {
        format!("{host}:{}", channel.remote.port)
    }
}

/// The name of a parameter by its number.
#[must_use]
pub fn parameter_name(number: usize) -> String {
    format!("replconninfo{number}")
}

#[cfg(test)]
mod tests;
