//! CHANGELOG.md as the collection's package has it for Ansible's tools: changelogs/changelog.yaml.

use serde_json::{Map, Value, json};

/// The parts of a version, and what Ansible calls them.
const PARTS: [(&str, &str); 7] = [
    ("Added", "minor_changes"),
    ("New", "minor_changes"),
    ("Changed", "breaking_changes"),
    ("Deprecated", "deprecated_features"),
    ("Removed", "removed_features"),
    ("Fixed", "bugfixes"),
    ("Security", "security_fixes"),
];

/// What is not released yet is that of this version, as a package that is built of it has it.
const UNRELEASED: &str = "Unreleased";

/// The releases with their changes; `version` is that of what is not released yet.
///
/// # Errors
/// A part that has no name of Ansible's.
pub fn to_yaml(changelog: &str, version: &str) -> Result<Value, String> {
    let mut releases = Map::new();
    let (mut release, mut part) = (None, None);
    for line in changelog.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let (name, date) =
                title.split_once(" - ").map_or((title, None), |(name, date)| (name, Some(date)));
            let name = name.trim_matches(['[', ']']);
            let name = if name == UNRELEASED { version } else { name };
            // The version may have a section of its own, while more is not released yet.
            releases.entry(name).or_insert_with(|| json!({"changes": {}}));
            if let Some(date) = date {
                releases[name]["release_date"] = json!(date);
            }
            (release, part) = (Some(name.to_owned()), None);
        } else if let Some(title) = line.strip_prefix("### ") {
            let known = PARTS.iter().find(|(name, _)| *name == title);
            part = Some(known.ok_or_else(|| format!("CHANGELOG.md: {title} is no part of a version"))?.1);
        } else if let (Some(release), Some(part)) = (&release, part) {
            let changes = &mut releases[release]["changes"][part];
            if !changes.is_array() {
                *changes = json!([]);
            }
            let Some(changes) = changes.as_array_mut() else { continue };
            if let Some(text) = line.strip_prefix("- ") {
                changes.push(text.into());
            } else if let Some(last) = changes.last_mut().filter(|_| line.starts_with("  ")) {
                *last = format!("{} {}", last.as_str().unwrap_or_default(), line.trim()).into();
            }
        }
    }
    releases.retain(|_, release| release["changes"].as_object().is_some_and(|changes| !changes.is_empty()));
    Ok(json!({"ancestor": null, "releases": releases}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_changes_under_the_names_of_ansible() {
        let text = "# Changelog\n\nText.\n\n## Unreleased\n\n### Added\n- a\n  b\n- c\n\n## 0.1.0 - 2026-11-29\n\n### Fixed\n- d\n";
        let wanted = json!({"ancestor": null, "releases": {
            "0.2.0": {"changes": {"minor_changes": ["a b", "c"]}},
            "0.1.0": {"changes": {"bugfixes": ["d"]}, "release_date": "2026-11-29"},
        }});
        assert_eq!(to_yaml(text, "0.2.0"), Ok(wanted));
        let text = "## Unreleased\n\n### Added\n- a\n\n## 0.2.0 - 2026-11-29\n\n### Added\n- b\n";
        let wanted = json!({"ancestor": null, "releases": {
            "0.2.0": {"changes": {"minor_changes": ["a", "b"]}, "release_date": "2026-11-29"},
        }});
        assert_eq!(to_yaml(text, "0.2.0"), Ok(wanted));
        assert!(to_yaml("## 1.0.0\n\n### Nonsense\n", "0.2.0").is_err());
    }

    #[test]
    fn ours_can_be_read() {
        let text = std::fs::read_to_string(crate::shell::root().join("CHANGELOG.md")).unwrap_or_default();
        let yaml = to_yaml(&text, "0.2.0").unwrap_or_else(|e| panic!("{e}"));
        assert!(yaml["releases"].as_object().is_some_and(|releases| !releases.is_empty()), "{yaml}");
    }
}
