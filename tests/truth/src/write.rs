//! Files made at random: mostly good, often with one mistake, sometimes with any byte anywhere. The same seed makes the
//! same files.

mod conf;
mod hba;

use fastrand::Rng;

pub use conf::{TEXTS, conf, settings};
pub use hba::{Client, hba, knocks};

/// What may stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What openGauss reads.
    OpenGauss,
    /// What openGauss and PostgreSQL read alike.
    Common,
}

/// One of these.
fn choose_one<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of.get(rng.usize(..of.len().max(1))).copied().unwrap_or_default()
}

/// Whether something that happens once in `n` times happens.
fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// Up to two changes of a byte of the text.
fn damage(rng: &mut Rng, text: &mut Vec<u8>, bytes: &[u8]) {
    for _ in 0..rng.usize(1..=2) {
        let at = rng.usize(..=text.len());
        let byte = bytes.get(rng.usize(..bytes.len())).copied().unwrap_or(b' ');
        match rng.u8(..3) {
            0 if at < text.len() => drop(text.remove(at)),
            1 if at < text.len() => text[at] = byte,
            _ => text.insert(at, byte),
        }
    }
}
