//! A position in the WAL.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Bytes;

/// A position in the WAL, in bytes from its beginning; written as the server writes it, `0/1001ABA8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// The position of an unknown LSN, `0/0`.
    pub const INVALID: Self = Self(0);

    /// The position this many bytes from the beginning.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Reads a position as the server writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.trim().split_once('/')?;
        let (high, low) = (u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?);
        Some(Self(u64::from(high) << 32 | u64::from(low)))
    }

    /// Whether it is a position at all; the server writes `0/0` where it knows none.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self != Self::INVALID
    }

    /// The bytes from its beginning.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The bytes of WAL between `earlier` and this position; 0 when it is not earlier.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> Bytes {
        Bytes::new(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no LSN such as 0/1001ABA8")))
    }
}

/// A text in JSON.
impl JsonSchema for Lsn {
    fn inline_schema() -> bool {
        String::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_lsn_is_two_hexadecimal_halves() {
        assert_eq!(Lsn::parse(" 1/A0 "), Some(Lsn::new((1 << 32) + 0xA0)));
        for text in ["", "0", "0/", "/0", "0/G", "0/100000000", "1/2/3"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
        let (old, new) = (Lsn::parse("0/FFFFFFFF").unwrap(), Lsn::parse("1/1").unwrap());
        assert!(old < new);
        assert_eq!((new.bytes_since(old), old.bytes_since(new)), (Bytes::new(2), Bytes::ZERO));
    }

    proptest! {
        #[test]
        fn an_lsn_reads_back_from_its_text_and_its_json(bytes in any::<u64>()) {
            let lsn = Lsn::new(bytes);
            prop_assert_eq!(Lsn::parse(&lsn.to_string()), Some(lsn));
            let json = serde_json::to_string(&lsn).unwrap();
            prop_assert_eq!(serde_json::from_str::<Lsn>(&json).unwrap(), lsn);
        }
    }
}
