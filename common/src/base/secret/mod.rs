//! What is a secret, and how it is shown.
//!
//! A secret is known as a value once it was met ([`register`]): in the arguments, in a file that was read. It is also known by
//! its name in a text. [`to_json`] writes a result, and lets neither pass.

mod find;
mod known;
mod write;

use std::borrow::Cow;

pub(crate) use find::may_hold_secrets;
pub use known::{register, register_args, register_named, register_value};
pub use write::to_json;

/// What stands in the place of a secret; Ansible's own words for it.
pub const MASK: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/// Words in the name of what is a secret.
const WORDS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "access_key", "api_key"];
/// How these words begin, and where in that their rarest letter is.
const BEGINNINGS: [(&[u8; 3], usize); 6] =
    [(b"pas", 0), (b"sec", 2), (b"tok", 2), (b"cre", 0), (b"acc", 1), (b"api", 1)];
/// The server's own parameters about passwords begin so, and hold none: `password_policy`, `password_lock_time`, ….
const POLICY: &str = "password_";
/// What ends so is the path of a file, such as `og_password_file`, and a message about it is of no use without the path.
const FILE: &str = "_file";

/// Whether what has this name is a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let bytes = name.as_bytes();
    let policy = bytes.get(..POLICY.len());
    let is_policy = policy.is_some_and(|begin| begin.eq_ignore_ascii_case(POLICY.as_bytes()));
    let file = bytes.len().checked_sub(FILE.len()).and_then(|at| bytes.get(at..));
    let is_file = file.is_some_and(|end| end.eq_ignore_ascii_case(FILE.as_bytes()));
    !is_policy && !is_file && contains_word(bytes)
}

/// Whether one of the words is somewhere in the text.
fn contains_word(text: &[u8]) -> bool {
    text.iter().enumerate().any(|(at, byte)| is_kind(*byte, KEY) && is_in_word(text, at))
}

/// The letter that is rarest in the beginning of a word.
const KEY: u8 = 1;
/// What may cut a word in two: a quote or a backslash.
const QUOTE: u8 = 2;
/// What an address has in front of its slashes.
const COLON: u8 = 4;

/// Which of these each byte is. Each byte of each file that is read is asked about, and few are any.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut at = 0;
    while at < BEGINNINGS.len() {
        let (beginning, key) = BEGINNINGS[at];
        kinds[beginning[key] as usize] = KEY;
        kinds[beginning[key].to_ascii_uppercase() as usize] = KEY;
        at += 1;
    }
    kinds[b'"' as usize] = QUOTE;
    kinds[b'\'' as usize] = QUOTE;
    kinds[b'\\' as usize] = QUOTE;
    kinds[b':' as usize] = COLON;
    kinds
};

/// Whether the byte is one of these kinds.
fn is_kind(byte: u8, kinds: u8) -> bool {
    KINDS[usize::from(byte)] & kinds != 0
}

/// Whether the key letter at this place is that of a word. Three bytes tell of nearly all.
fn is_in_word(text: &[u8], at: usize) -> bool {
    BEGINNINGS.iter().any(|(beginning, key)| {
        let word = at.checked_sub(*key).map_or(&[][..], |from| &text[from..]);
        matches!(word, [x, y, z, ..] if [x | 0x20, y | 0x20, z | 0x20] == **beginning)
            && begins_with_word(word)
    })
}

/// Whether the text begins with a word in the name of a secret.
fn begins_with_word(text: &[u8]) -> bool {
    WORDS
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes())))
}

/// The value of `name` as it may be shown.
#[must_use]
pub fn mask_value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if is_secret(name) && !value.is_empty() { Cow::Borrowed(MASK) } else { mask_text(value) }
}

/// A text that may have secrets in it, such as `host=h password=p`, `https://user:p@host` or one that is [registered](register),
/// without them.
#[must_use]
pub fn mask_text(text: &str) -> Cow<'_, str> {
    // What is known is masked whole; by its name it might be found in part.
    match known::mask(text) {
        Cow::Borrowed(text) => mask_ranges(text, &find::find_secrets(text)),
        Cow::Owned(text) => Cow::Owned(mask_ranges(&text, &find::find_secrets(&text)).into_owned()),
    }
}

fn mask_ranges<'a>(text: &'a str, secrets: &[(usize, usize)]) -> Cow<'a, str> {
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end) in secrets {
        shown.push_str(&text[from..*start]);
        shown.push_str(MASK);
        from = *end;
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// What a server says of a parameter, such as `parameter "NAME" changed to "VALUE"`, without secrets.
#[must_use]
pub fn mask_line(line: &str) -> Cow<'_, str> {
    const BEFORE: &str = "parameter \"";
    let named = line.match_indices(BEFORE).find_map(|(at, _)| {
        let (name, rest) = line[at + BEFORE.len()..].split_once('"')?;
        is_secret(name).then_some(rest)
    });
    // The value is in quotes behind the name, and may have quotes in it.
    let Some((_, value)) = named.and_then(|rest| rest.split_once('"')) else { return mask_text(line) };
    let start = line.len() - value.len();
    let end = value.rfind('"').map_or(line.len(), |end| start + end);
    Cow::Owned(format!("{}{MASK}{}", mask_text(&line[..start]), mask_text(&line[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_with_a_secret_is_none() {
        for name in ["og_password_file", "password_file", "TOKEN_FILE"] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_secret("og_password") && is_secret("file_password") && is_secret("passwdfile"));
    }

    #[test]
    fn each_word_is_found_at_its_first_byte() {
        for word in WORDS {
            for written in [word.to_owned(), word.to_ascii_uppercase()] {
                assert!(
                    begins_with_word(written.as_bytes()) && is_secret(&format!("x_{written}_y")),
                    "{written}"
                );
            }
        }
    }

    #[test]
    fn names_of_secrets() {
        for name in ["password", "ssl_passphrase_command", "app.API_KEY", "myldap.bind_passwd", "x_token"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["password_policy", "password_encryption_type", "ssl_key_file", "ssl_ciphers", "port"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_within_a_servers_words() {
        let same = |line: &str| assert_eq!(mask_line(line), line);
        let masked =
            |line: &str, wanted: &str| assert_eq!(mask_line(line), wanted.replace("MASK", MASK), "{line}");
        same("LOG:  parameter \"work_mem\" changed to \"7MB\"");
        same("LOG:  parameter \"x.password\" requires a value");
        same("LOG:  parameter \"password_policy\" changed to \"1\"");
        masked(
            "LOG:  parameter \"x.password\" changed to \"a\"b\"",
            "LOG:  parameter \"x.password\" changed to \"MASK\"",
        );
        masked(
            "invalid value for parameter \"x.token\": \"a\", sic",
            "invalid value for parameter \"x.token\": \"MASK\", sic",
        );
        masked("parameter \"x.token\" changed to \"a", "parameter \"x.token\" changed to \"MASK");
        masked(
            "parameter \"archive_command\" changed to \"curl https://u:pw@h\"",
            "parameter \"archive_command\" changed to \"curl https://u:MASK@h\"",
        );
    }

    #[test]
    fn secrets_within_a_text() {
        let same = |value: &str| assert_eq!(mask_text(value), value);
        let masked =
            |value: &str, wanted: &str| assert_eq!(mask_text(value), wanted.replace("MASK", MASK), "{value}");
        same("host=h port=1 password_policy=1");
        same("password");
        same("https://host:8080/x@y");
        same("password=");
        masked("host=h password=p port=1", "host=h password=MASK port=1");
        masked("Passwd = 'a b' x", "Passwd = 'MASK' x");
        masked("ldap \"ldapbindpasswd=a b\" ldaptls=1", "ldap \"ldapbindpasswd=MASK\" ldaptls=1");
        masked("ldapbindpasswd=\"a b\"", "ldapbindpasswd=\"MASK\"");
        masked("curl 'https://u:p:q@host/%f?token=1&x=2'", "curl 'https://u:MASK@host/%f?token=MASK&x=2'");
        masked("\u{fc}password=\u{fc}\nb", "\u{fc}password=MASK\nb");
        same("\"password=\" x");
        assert_eq!(mask_value("x.secret", "v"), MASK);
        assert_eq!(mask_value("x.secret", ""), "");
        assert_eq!(mask_value("port", "v"), "v");
    }
}
