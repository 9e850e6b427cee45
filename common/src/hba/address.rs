//! Addresses as values: what the server compares a client with, however it was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rule::{write_quoted, write_value};

/// The address column of a rule, as a value: two ways to write the same set of clients are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `all`.
    All,
    /// `samehost`: any address of this machine.
    SameHost,
    /// `samenet`: any address of a network this machine is in.
    SameNet,
    /// A range of addresses.
    Range(Range),
    /// A host name, or with a leading dot all names that end so; in lower case, for the server does not mind case.
    Host(Vec<u8>),
}

/// A range of addresses: those which agree with `network` where `mask` has ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Range {
    /// IPv4.
    V4 {
        /// The address, the bits outside the mask being 0.
        network: u32,
        /// The mask; it may have holes.
        mask: u32,
    },
    /// IPv6.
    V6 {
        /// The address, the bits outside the mask being 0.
        network: u128,
        /// The mask; it may have holes.
        mask: u128,
    },
}

impl Range {
    /// The range of this address and mask; `None` when one is IPv4 and the other IPv6.
    #[must_use]
    pub fn from_mask(address: IpAddr, mask: IpAddr) -> Option<Self> {
        match (address, mask) {
            (IpAddr::V4(a), IpAddr::V4(m)) => {
                Some(Self::V4 { network: a.to_bits() & m.to_bits(), mask: m.to_bits() })
            }
            (IpAddr::V6(a), IpAddr::V6(m)) => {
                Some(Self::V6 { network: a.to_bits() & m.to_bits(), mask: m.to_bits() })
            }
            _ => None,
        }
    }

    /// The range of this address and number of leading mask bits; `None` when there are too many.
    #[must_use]
    pub fn from_prefix(address: IpAddr, bits: u32) -> Option<Self> {
        let mask = match address {
            IpAddr::V4(_) if bits <= 32 => {
                IpAddr::V4(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0)))
            }
            IpAddr::V6(_) if bits <= 128 => {
                IpAddr::V6(Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - bits).unwrap_or(0)))
            }
            _ => return None,
        };
        Self::from_mask(address, mask)
    }

    /// This one address alone.
    #[must_use]
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4 { network: a.to_bits(), mask: u32::MAX },
            IpAddr::V6(a) => Self::V6 { network: a.to_bits(), mask: u128::MAX },
        }
    }

    /// Whether it is one address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        match *self {
            Self::V4 { mask, .. } => mask == u32::MAX,
            Self::V6 { mask, .. } => mask == u128::MAX,
        }
    }

    /// Whether the client is in it. As the server does, an IPv6 client is compared with an IPv4 range as
    /// `::ffff:a.b.c.d`, but never an IPv4 client with an IPv6 range.
    #[must_use]
    pub fn contains(&self, client: IpAddr) -> bool {
        self.covers(&Self::from_ip(client))
    }

    /// Whether every client of `other` is in this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::V4 { network, mask }, Self::V4 { network: n, mask: m }) => {
                mask & m == mask && n & mask == network
            }
            (Self::V6 { network, mask }, Self::V6 { network: n, mask: m }) => {
                mask & m == mask && n & mask == network
            }
            (Self::V4 { .. }, Self::V6 { .. }) => self.to_ipv6().covers(other),
            (Self::V6 { .. }, Self::V4 { .. }) => false,
        }
    }

    /// An IPv4 range among the IPv6 addresses.
    fn to_ipv6(self) -> Self {
        match self {
            Self::V4 { network, mask } => Self::V6 {
                network: 0xffff_0000_0000 | u128::from(network),
                mask: (u128::MAX << 32) | u128::from(mask),
            },
            v6 @ Self::V6 { .. } => v6,
        }
    }

    /// The number of leading mask bits, when the mask has no holes.
    #[must_use]
    pub fn prefix(&self) -> Option<u32> {
        match *self {
            Self::V4 { mask, .. } => (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0)
                .then_some(mask.leading_ones()),
            Self::V6 { mask, .. } => (mask.leading_ones() + mask.trailing_zeros() == 128 || mask == 0)
                .then_some(mask.leading_ones()),
        }
    }

    fn parts(&self) -> (IpAddr, IpAddr) {
        match *self {
            Self::V4 { network, mask } => {
                (Ipv4Addr::from_bits(network).into(), Ipv4Addr::from_bits(mask).into())
            }
            Self::V6 { network, mask } => {
                (Ipv6Addr::from_bits(network).into(), Ipv6Addr::from_bits(mask).into())
            }
        }
    }
}

impl fmt::Display for Range {
    /// As it stands in the file: `10.0.0.0/8`, or with the mask in a column of its own where it has holes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (network, mask) = self.parts();
        match self.prefix() {
            Some(bits) => write!(f, "{network}/{bits}"),
            None => write!(f, "{network} {mask}"),
        }
    }
}

impl fmt::Display for Address {
    /// As it stands in the file; bytes that are no UTF-8 as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

/// The words that stand for clients.
const WORDS: [&[u8]; 3] = [b"all", b"samehost", b"samenet"];

impl Address {
    /// Appends it as it stands in the file.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.extend(b"all"),
            Self::SameHost => out.extend(b"samehost"),
            Self::SameNet => out.extend(b"samenet"),
            Self::Range(range) => out.extend(range.to_string().into_bytes()),
            Self::Host(name)
                if name.is_empty() || name.starts_with(b"@") || WORDS.contains(&name.as_slice()) =>
            {
                write_quoted(out, name);
            }
            Self::Host(name) => write_value(out, b"", name),
        }
    }
}

/// Whether it can be a host name, or with a leading dot the end of one. Numbers and dots alone are a mistyped address,
/// which the server would quietly take for a name.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
        && text.chars().any(|c| c.is_alphabetic() || c == '_')
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()))
}

/// Wider than any network of one's own: 10.0.0.0/8 is the widest private one of IPv4.
const WIDE_V4: u32 = 8;
/// A provider is given 32 bits of IPv6, a country rarely as few as 16.
const WIDE_V6: u32 = 16;

impl Range {
    /// Whether it is so wide that it holds strangers: fewer leading mask bits than any network of one's own has.
    #[must_use]
    pub fn holds_strangers(&self) -> bool {
        match *self {
            Self::V4 { mask, .. } => mask.leading_ones() < WIDE_V4,
            // ::ffff:a.b.c.d are the addresses of IPv4 again.
            Self::V6 { network, mask } if mask.leading_ones() >= 96 && network >> 32 == 0xffff => {
                mask.leading_ones() - 96 < WIDE_V4
            }
            // fc00::/7 and fe80::/10 are nobody's but one's own.
            Self::V6 { network, mask } => {
                let local = (mask.leading_ones() >= 7 && network >> 121 == 0xfc >> 1)
                    || (mask.leading_ones() >= 10 && network >> 118 == 0xfe80 >> 6);
                let mapped = Self::V4 { network: 0, mask: 0 }.to_ipv6();
                (mask.leading_ones() < WIDE_V6 && !local) || self.covers(&mapped)
            }
        }
    }
}

impl Address {
    /// Whether strangers are among the clients: `all`, a range wider than any network of one's own, or all names of a
    /// top-level domain.
    #[must_use]
    pub fn holds_strangers(&self) -> bool {
        match self {
            Self::All => true,
            Self::SameHost | Self::SameNet => false,
            Self::Range(range) => range.holds_strangers(),
            Self::Host(name) => name.strip_prefix(b".").is_some_and(|end| !end.contains(&b'.')),
        }
    }
}

/// Whether a host name matches a pattern, which is a name or, with a leading dot, a name's end. Both in lower case.
pub fn host_matches(pattern: &[u8], name: &[u8]) -> bool {
    if pattern.starts_with(b".") { name.ends_with(pattern) } else { name == pattern }
}

/// A whole address as people write it: four decimal parts, or IPv6, perhaps with a zone. Unlike [`parse_ip`] it takes no
/// shortened, octal or hexadecimal parts, which are mistakes more often than meant.
#[must_use]
pub fn parse_whole_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') { parse_ip(text.as_bytes()) } else { text.parse().ok() }
}

/// A number address as the server's getaddrinfo takes it: also `10.1` and `0x7f.1`, and IPv6 with a zone: a number, or, of a
/// link-local address, the name of an interface, which is not looked for here.
#[must_use]
pub fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(v4) = parse_ipv4(text) {
        return Some(IpAddr::V4(v4));
    }
    let (address, zone) = text.split_once('%').map_or((text, None), |(a, z)| (a, Some(z)));
    let address: Ipv6Addr = address.parse().ok()?;
    let local = address.is_unicast_link_local() || (address.is_multicast() && address.octets()[1] & 0xf == 2);
    let known = |zone: &str| {
        let number = zone.bytes().all(|b| b.is_ascii_digit()) && zone.parse::<u32>().is_ok();
        number || (local && !zone.is_empty())
    };
    zone.is_none_or(known).then_some(IpAddr::V6(address))
}

/// inet_aton(3): one to four parts, each decimal, octal (leading 0) or hexadecimal (0x), the last filling up.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts = text.split('.').map(parse_part).collect::<Option<Vec<u32>>>()?;
    let (&last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|&p| p > 255) {
        return None;
    }
    let free = 32 - 8 * u32::try_from(leading.len()).ok()?;
    if u64::from(last) >= 1u64 << free {
        return None;
    }
    let high = leading.iter().enumerate().fold(0u32, |bits, (i, &p)| bits | p << (24 - 8 * i));
    Some(Ipv4Addr::from_bits(high | last))
}

fn parse_part(part: &str) -> Option<u32> {
    if !part.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    if let Some(hex) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return (!hex.starts_with('+')).then(|| u32::from_str_radix(hex, 16).ok())?;
    }
    if part.len() > 1 && part.starts_with('0') {
        return u32::from_str_radix(part, 8).ok();
    }
    part.parse().ok()
}

/// The number behind the slash, as strtol(3) takes it; `None` when it is no number.
pub fn parse_bits(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<i64>().unwrap_or(i64::MAX) * sign)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn range(address: &str, bits: u32) -> Range {
        Range::from_prefix(parse_ip(address.as_bytes()).unwrap(), bits).unwrap()
    }

    #[test]
    fn strangers_are_in_whatever_is_wider_than_a_network_of_ones_own() {
        for (address, bits, strangers) in [
            ("0.0.0.0", 0, true),
            ("128.0.0.0", 1, true),
            ("10.0.0.0", 7, true),
            ("10.0.0.0", 8, false),
            ("192.168.0.1", 32, false),
            ("::", 0, true),
            ("8000::", 1, true),
            ("2000::", 3, true),
            ("2001:db8::", 32, false),
            ("fc00::", 7, false),
            ("fe80::", 10, false),
            ("fc00::", 6, true),
            ("::ffff:0:0", 96, true),
            ("::ffff:128.0.0.0", 97, true),
            ("::ffff:10.0.0.0", 104, false),
            ("::", 80, true),
            ("::", 95, false),
        ] {
            assert_eq!(range(address, bits).holds_strangers(), strangers, "{address}/{bits}");
        }
        // A mask with holes: one address in 256, all over the world.
        let holes = Range::from_mask("0.0.0.1".parse().unwrap(), "0.0.0.255".parse().unwrap()).unwrap();
        assert!(holes.holds_strangers());
        let host = |name: &str| Address::Host(name.as_bytes().to_vec()).holds_strangers();
        assert!(host(".com") && !host(".example.com") && !host("db1"));
        assert!(Address::All.holds_strangers() && !Address::SameNet.holds_strangers());
    }

    #[test]
    fn one_value_however_written() {
        let ip = |s: &str| parse_ip(s.as_bytes()).unwrap();
        assert_eq!(range("10.0.0.5", 32), Range::from_mask(ip("10.0.0.5"), ip("255.255.255.255")).unwrap());
        assert_eq!(range("10.1.2.3", 8), range("10.0.0.0", 8));
        assert_eq!(range("FE80:0::0001", 64), range("fe80::", 64));
        assert_eq!(ip("10.1"), ip("10.0.0.1"));
        assert_eq!(ip("0x7f.1"), ip("127.0.0.1"));
        assert_eq!(ip("010.0.0.1"), ip("8.0.0.1"));
        assert_eq!(ip("fe80::1%eth0"), ip("fe80::1"));
        assert_eq!(ip("::1%1"), ip("::1"));
        for bad in ["", "127.0.0.300", "1.2.3.4.5", "fe80:::1", "a", "1.2.3.", "1 .2", "08.1", "0x", "+1"] {
            assert_eq!(parse_ip(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["::1%lo", "fd00::1%eth0", "::1%", "fe80::1%", "::1%4294967296"] {
            assert_eq!(parse_ip(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn printed_as_in_the_file() {
        assert_eq!(range("10.1.2.3", 8).to_string(), "10.0.0.0/8");
        assert_eq!(range("1.2.3.4", 0).to_string(), "0.0.0.0/0");
        assert_eq!(range("::1", 128).to_string(), "::1/128");
        let holes = Range::V4 { network: 0x0a00_0001, mask: 0xff00_00ff };
        assert_eq!(holes.to_string(), "10.0.0.1 255.0.0.255");
    }

    #[test]
    fn ranges_in_ranges() {
        assert!(range("10.0.0.0", 8).covers(&range("10.9.0.0", 16)));
        assert!(!range("10.9.0.0", 16).covers(&range("10.0.0.0", 8)));
        assert!(!range("192.168.0.1", 32).covers(&range("192.168.0.12", 32)));
        assert!(range("0.0.0.0", 0).covers(&range("::ffff:1.2.3.4", 128)));
        assert!(!range("::", 0).covers(&range("1.2.3.4", 32)), "an IPv4 client never meets an IPv6 range");
        assert!(!range("::ffff:127.0.0.1", 128).contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn bits_as_strtol_takes_them() {
        assert_eq!(parse_bits(b"08"), Some(8));
        assert_eq!(parse_bits(b"+8"), Some(8));
        assert_eq!(parse_bits(b"-1"), Some(-1));
        assert_eq!(parse_bits(b""), None);
        assert_eq!(parse_bits(b"8x"), None);
        assert_eq!(parse_bits(b"99999999999999999999"), Some(i64::MAX));
    }
}
