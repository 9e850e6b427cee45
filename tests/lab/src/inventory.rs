//! The lab as an Ansible inventory: the cluster and the newcomers in the group `opengauss`.

use std::fmt::Write as _;
use std::path::Path;

use crate::node::{LabNode, NodeKind};

/// The inventory as YAML.
pub(crate) fn text(base: &Path, nodes: &[LabNode]) -> String {
    let ssh = crate::ssh::folder(base);
    let mut text = format!(
        "all:\n  vars:\n    ansible_ssh_private_key_file: {}\n    ansible_ssh_common_args: {}\n    ansible_python_interpreter: {}\n  children:\n",
        quoted(&ssh.join("id_ed25519").display().to_string()),
        quoted(&format!(
            "-F none -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
            ssh.join("known_hosts").display()
        )),
        quoted("auto_silent"),
    );
    text.push_str("    opengauss:\n      hosts:\n");
    for node in nodes {
        let _ = writeln!(text, "        {}:", node.name);
        let path = |p: &Path| quoted(&p.display().to_string());
        for (key, value) in [
            ("ansible_host", quoted(&node.address)),
            ("ansible_port", node.ssh_port.to_string()),
            ("ansible_user", quoted(node.login())),
            ("data_dir", path(&node.data_dir)),
            ("base_port", node.base_port.to_string()),
            ("role", quoted(node.role.word())),
            ("id", node.id.to_string()),
            ("zone", quoted("AZ1")),
        ] {
            let _ = writeln!(text, "          {key}: {value}");
        }
        // What a person knows of a host before openGauss is there.
        let _ = match node.kind {
            NodeKind::Machine => {
                let (user, home) = (quoted(&node.os_user), path(&node.gauss_home));
                writeln!(text, "          os_user: {user}\n          gauss_home: {home}")
            }
            _ => writeln!(text, "          env_file: {}", path(&node.env_file)),
        };
    }
    text
}

/// A YAML double-quoted scalar; JSON strings are valid ones.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_quoted_so_that_yaml_cannot_read_them_as_anything_else() {
        assert_eq!(super::quoted("no"), "\"no\"");
        assert_eq!(super::quoted("a: \"b\""), r#""a: \"b\"""#);
    }
}
