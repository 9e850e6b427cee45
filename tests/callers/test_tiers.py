"""What `cargo xtask test` leaves to `--all` because a unit test holds the same: that test is there."""

import re

from conftest import ROOT

PLACES = [ROOT / "tests/callers", ROOT / "playbooks/ansible_collections/opengauss/node/tests"]


def test_each_mark_names_a_test():
    pattern = re.compile(r'(?:exhaustive|of_the_engine)\("([^"]+::[^"]+)"')
    marks = {mark for place in PLACES for file in place.rglob("*.py") for mark in pattern.findall(file.read_text())}
    assert len(marks) > 10
    for mark in marks:
        file, name = mark.split("::")
        assert re.search(rf"^ *(?:def|fn) {name}\(", (ROOT / file).read_text(), re.M), mark
