//! Which of many points a test kills a program at, and which of its longer stories it tells: all of them, or a third, and
//! others the next time.

/// The kill points that are chosen: every `every`-th, beginning with the one of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillPoints {
    first: usize,
    every: usize,
}

/// The variable that chooses: `N/M` means every M-th, beginning with the N-th, counted from 0.
const VARIABLE: &str = "OG_KILLS";

/// The variable that chooses among long stories: `N/M` means part N of M, counted from 0.
const TURN: &str = "OG_TURN";

/// Whether stories take turns, so that not all are told.
#[must_use]
pub fn has_turns() -> bool {
    std::env::var_os(TURN).is_some()
}

/// Whether it is the turn of the story of this number, as the environment says; it is always when it says nothing.
///
/// # Errors
/// It says something else than `N/M` with N below M.
pub fn is_turn_of(story: usize) -> Result<bool, String> {
    let Some(text) = std::env::var_os(TURN) else { return Ok(true) };
    let text = text.to_string_lossy();
    let KillPoints { first, every } =
        KillPoints::parse(&text).ok_or_else(|| format!("{TURN}={text} is not N/M with N below M"))?;
    Ok(story % every == first)
}

impl KillPoints {
    /// What the environment chooses; all of them when it says nothing.
    ///
    /// # Errors
    /// It says something else than `N/M` with N below M.
    pub fn from_env() -> Result<Self, String> {
        std::env::var_os(VARIABLE).map_or(Ok(Self { first: 0, every: 1 }), |text| {
            let text = text.to_string_lossy();
            Self::parse(&text).ok_or_else(|| format!("{VARIABLE}={text} is not N/M with N below M"))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, every) = text.split_once('/')?;
        let points = Self { first: first.parse().ok()?, every: every.parse().ok()? };
        (points.first < points.every).then_some(points)
    }

    /// The numbers of the points of one row, counted from 1 and without an end. Rows of other numbers begin elsewhere, for
    /// many have but one or two points.
    pub fn points_of_row(self, row: usize) -> impl Iterator<Item = usize> {
        (1 + (self.first + row) % self.every..).step_by(self.every)
    }

    /// Whether all are chosen.
    #[must_use]
    pub fn are_all(self) -> bool {
        self.every == 1
    }

    /// The number of the first and the distance to the next.
    #[must_use]
    pub fn first_and_every(self) -> (usize, usize) {
        (self.first, self.every)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::KillPoints;

    #[test]
    fn as_many_runs_as_there_are_parts_meet_every_point_once() {
        for row in 0..4 {
            let part =
                |first: usize| KillPoints::parse(&format!("{first}/3")).unwrap().points_of_row(row).take(5);
            let mut met: Vec<usize> = (0..3).flat_map(part).collect();
            met.sort_unstable();
            assert_eq!(met, (1..=15).collect::<Vec<_>>());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "3/3", "a/3", "1/0", "0/3/1"] {
            assert_eq!(KillPoints::parse(text), None, "{text}");
        }
    }
}
