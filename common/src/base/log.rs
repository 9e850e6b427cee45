//! The log that a DBA asks for with `OG_LOG=debug`: each outside program with its time and exit, each file written, each
//! host asked, on standard error. It is off by default; then an event costs one comparison.

use std::io::{self, Write};
use std::str::FromStr as _;

use tracing::Level;

use super::secret;

/// The variable of the environment that asks for it.
const VARIABLE: &str = "OG_LOG";

/// Starts the log when the environment asks for it; `OG_LOG` is one of `error`, `warn`, `info`, `debug` and `trace`.
pub fn start() {
    let Some(wanted) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return };
    let Some(level) = wanted.to_str().and_then(|level| Level::from_str(level).ok()) else {
        eprintln!("{VARIABLE} is no level of the log (known: error, warn, info, debug, trace)");
        return;
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(|| Masked);
    // A log that another part of this process has started stays.
    let _ = log.with_ansi(false).try_init();
}

/// Standard error, without secrets. The log hands over whole lines, so that no secret comes in two parts.
struct Masked;

impl Write for Masked {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(secret::mask_text(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
