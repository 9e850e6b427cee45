//! The name that was probably meant.

/// Longer names are no mistyped ones, and are shown cut.
pub(super) const LONGEST_NAME: usize = 64;

/// The known name that was probably meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), k), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len().min(name.len()) / 4)
        .map(|(_, k)| k)
}
