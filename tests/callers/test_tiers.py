"""What `cargo xtask test` leaves to `--all` because a unit test holds the same: that test is there, and is run by `test`."""

import re

from conftest import ROOT

PLACES = [ROOT / "tests/callers", ROOT / "playbooks/ansible_collections/opengauss/node/tests"]
MARK = re.compile(r'(?:exhaustive|of_the_engine)\("([^"]+::[^"]+)"')


def is_run(file, name):
    """Whether the file has a test of this name, which is not itself left to `--all`."""
    lines = (ROOT / file).read_text().splitlines()
    [at] = [i for i, line in enumerate(lines) if re.match(rf" *(?:def|fn) {name}\(", line)]
    before = lines[max(at - 6, 0) : at]
    # What stands right above it: attributes and decorators, up to the end of what comes before.
    own = before[max((i + 1 for i, line in enumerate(before) if not line.strip() or line.strip() == "}"), default=0) :]
    if file.endswith(".rs"):
        return any(line.strip() == "#[test]" for line in own)
    return name.startswith("test_") and not any("exhaustive" in line for line in own)


def test_each_mark_names_a_test():
    marks = {mark for place in PLACES for file in place.rglob("*.py") for mark in MARK.findall(file.read_text())}
    assert len(marks) > 5
    assert all(is_run(*mark.split("::")) for mark in marks), [mark for mark in marks if not is_run(*mark.split("::"))]
