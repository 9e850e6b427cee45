//! gaussdb.state: 72 bytes, little endian (recorded.md, section 2).

use std::path::Path;

/// The mode of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not known (a build that died).
    Unknown = 0,
    /// No channels.
    Normal = 1,
    /// Primary.
    Primary = 2,
    /// Standby.
    Standby = 3,
    /// Cascade standby.
    Cascade = 4,
    /// Waits to be told.
    Pending = 5,
}

impl Mode {
    /// As gs_ctl prints it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Normal => "Normal",
            Self::Primary => "Primary",
            Self::Standby => "Standby",
            Self::Cascade => "Cascade Standby",
            Self::Pending => "Pending",
        }
    }

    /// As it stands on the command line after -M.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Self::Primary => Some("primary"),
            Self::Standby => Some("standby"),
            Self::Cascade => Some("cascade_standby"),
            Self::Pending => Some("pending"),
            Self::Unknown | Self::Normal => None,
        }
    }

    /// The mode that -M names.
    pub fn from_option(text: &str) -> Option<Self> {
        [Self::Primary, Self::Standby, Self::Cascade, Self::Pending]
            .into_iter()
            .find(|m| m.option() == Some(text))
    }

    /// Whether its server is in recovery.
    pub fn is_in_recovery(self) -> bool {
        matches!(self, Self::Standby | Self::Cascade | Self::Pending)
    }
}

/// The state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbState {
    /// All well.
    Normal = 1,
    /// A standby without its upstream.
    NeedRepair = 2,
    /// Coming up.
    Starting = 3,
    /// About to be promoted.
    WaitPromoting = 4,
    /// On its way from primary to standby.
    Demoting = 5,
    /// On its way from standby to primary.
    Promoting = 6,
    /// Being built.
    Building = 7,
    /// Behind, but on its way.
    Catchup = 8,
}

impl DbState {
    /// As gs_ctl prints it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::NeedRepair => "Need repair",
            Self::Starting => "Starting",
            Self::WaitPromoting => "Wait promoting",
            Self::Demoting => "Demoting",
            Self::Promoting => "Promoting",
            Self::Building => "Building",
            Self::Catchup => "Catchup",
        }
    }
}

/// The file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Offset 0.
    pub mode: Mode,
    /// Offset 4: the number of channels.
    pub connections: u32,
    /// Offset 8: `db_state`.
    pub word: DbState,
    /// Offset 16.
    pub lsn: u64,
    /// Offset 24.
    pub term: u64,
    /// Offset 32: 0 none, 1 auto, 2 full, 3 incremental.
    pub build_mode: u32,
    /// Offset 40, kB.
    pub done: u64,
    /// Offset 64: 0 none, 1 WAL segment, 2 connect, 4 system id.
    pub reason: u32,
    /// Offset 68: which channel it streams through.
    pub channel: u32,
}

impl State {
    /// A server of this mode and state, all else nothing.
    pub fn new(mode: Mode, state: DbState, connections: u32) -> Self {
        Self {
            mode,
            connections,
            word: state,
            lsn: 0,
            term: 1,
            build_mode: 0,
            done: 0,
            reason: 0,
            channel: 1,
        }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> [u8; 72] {
        let mut bytes = [0; 72];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(self.mode as u32).to_le_bytes());
        put(4, &self.connections.to_le_bytes());
        put(8, &(self.word as u32).to_le_bytes());
        put(16, &self.lsn.to_le_bytes());
        put(24, &self.term.to_le_bytes());
        put(32, &self.build_mode.to_le_bytes());
        put(40, &self.done.to_le_bytes());
        put(48, &self.done.to_le_bytes());
        put(56, &(if self.build_mode == 0 { 0_u32 } else { 100 }).to_le_bytes());
        put(64, &self.reason.to_le_bytes());
        put(68, &self.channel.to_le_bytes());
        bytes
    }

    /// Reads the bytes of the file.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            mode: [Mode::Unknown, Mode::Normal, Mode::Primary, Mode::Standby, Mode::Cascade, Mode::Pending]
                .into_iter()
                .find(|m| Some(*m as u32) == word(0))?,
            connections: word(4)?,
            word: [
                DbState::Normal,
                DbState::NeedRepair,
                DbState::Starting,
                DbState::WaitPromoting,
                DbState::Demoting,
                DbState::Promoting,
                DbState::Building,
                DbState::Catchup,
            ]
            .into_iter()
            .find(|s| Some(*s as u32) == word(8))?,
            lsn: long(16)?,
            term: long(24)?,
            build_mode: word(32)?,
            done: long(40)?,
            reason: word(64)?,
            channel: word(68)?,
        })
    }

    /// Reads the file of a data directory.
    pub fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(data_dir.join("gaussdb.state")).ok()?)
    }

    /// Writes the file of a data directory, whole, unless it says so already.
    pub fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        if Self::read(data_dir).as_ref() == Some(self) {
            return Ok(());
        }
        let part = data_dir.join("gaussdb.state.temp");
        std::fs::write(&part, self.bytes())?;
        std::fs::rename(part, data_dir.join("gaussdb.state"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A_query/need_repair_WAL of the recording.
    const RECORDED: &str = "03000000020000000200000000000000c0ca0c4000000000010000000000000000000000000000000000000000000000\
                            000000000000000000000000000000000100000001000000";

    #[test]
    fn the_recorded_file_is_read_and_written_byte_for_byte() {
        let bytes: Vec<u8> = (0..RECORDED.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&RECORDED[i..i + 2], 16).unwrap())
            .collect();
        let state = State::parse(&bytes).unwrap();
        assert_eq!((state.mode, state.word, state.connections), (Mode::Standby, DbState::NeedRepair, 2));
        assert_eq!((state.lsn, state.term, state.reason, state.channel), (0x400c_cac0, 1, 1, 1));
        assert_eq!(state.bytes().as_slice(), bytes);
    }
}
