//! What `--host` takes.

use std::fmt;
use std::str::FromStr;

/// `[user@]host[:port]`; what is not given is left to ssh's own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    /// As it was given, which names it in results.
    pub given: String,
    pub(super) user: Option<String>,
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl SshHost {
    /// The ssh command by which a person tries the way there.
    pub(super) fn manual_command(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("ssh -o BatchMode=yes {port}{user}{} true", self.name)
    }
}

impl FromStr for SshHost {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (user, rest) = match given.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, given),
        };
        let (name, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (name, after) = rest.split_once(']').ok_or("a `]` is missing")?;
            match after.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None if after.is_empty() => (name, None),
                None => return Err("only `:port` may follow `]`".to_owned()),
            }
        } else if rest.matches(':').count() > 1 {
            // An IPv6 address; a port would need brackets around it.
            (rest, None)
        } else {
            rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)))
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err("the port is no number from 1 to 65535".to_owned()),
        };
        // ssh hands both to a shell where the configuration has a ProxyCommand.
        let plain = |word: &str, more: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word.chars().all(|c| c.is_alphanumeric() || more.contains(c))
        };
        if !plain(name, "._-:%") {
            return Err("it is no host name or address".to_owned());
        }
        if !user.is_none_or(|user| plain(user, "._-@+")) {
            return Err("it has no usable user name".to_owned());
        }
        Ok(Self { given: given.to_owned(), user: user.map(str::to_owned), name: name.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn user_host_and_port() {
        for (given, user, name, port) in [
            ("n1", None, "n1", None),
            ("omm@n1:2222", Some("omm"), "n1", Some(2222)),
            ("10.0.0.1:22", None, "10.0.0.1", Some(22)),
            ("[::1]:22", None, "::1", Some(22)),
            ("omm@[fe80::1%eth0]", Some("omm"), "fe80::1%eth0", None),
            ("fe80::1", None, "fe80::1", None),
            ("a@corp@n1", Some("a@corp"), "n1", None),
        ] {
            let host: SshHost = given.parse().unwrap();
            assert_eq!((host.user.as_deref(), host.name.as_str(), host.port), (user, name, port), "{given}");
            assert_eq!(host.to_string(), given);
        }
        let host: SshHost = "omm@[::1]:22".parse().unwrap();
        assert_eq!(host.manual_command(), "ssh -o BatchMode=yes -p 22 omm@::1 true");
    }

    #[test]
    fn what_ssh_or_a_shell_could_take_for_something_else_is_refused() {
        for given in [
            "",
            "@n1",
            "omm@",
            "-oProxyCommand=x",
            "-l@n1",
            "n1:",
            "n1:0",
            "n1:70000",
            "n1:ssh",
            "[::1",
            "[::1]22",
            "a b",
            "$(id)",
            "n1;id",
            "`id`@n1",
        ] {
            assert!(given.parse::<SshHost>().is_err(), "{given}");
        }
    }
}
