"""What a task makes of what a node printed; no node is needed."""

import importlib.util
import pathlib

import pytest

HERE = pathlib.Path(__file__).resolve()
SPEC = importlib.util.spec_from_file_location("og_action", HERE.parents[2] / "plugins/plugin_utils/og_action.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)

# What the loader of glibc 2.28 prints.
LOADER = "".join(
    f"/x/og_hba: /lib64/libc.so.6: version `GLIBC_{version}' not found (required by /x/og_hba)\n" for version in ("2.9", "2.34", "2.33", "2.32", "2.30")
)


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_an_older_glibc_is_told_with_what_to_do(stream):
    done = {"rc": 1, "stdout": "", "stderr": "", stream: LOADER}
    result = og.OgActionBase.result(None, "og_hba", done)
    assert result["failed"] and "version `GLIBC_2.30' not found" in result["msg"]
    assert "need glibc 2.34 or newer" in result["msg"] and "musl" in result["msg"]


def test_other_failures_have_no_such_hint():
    assert "glibc" not in og.ending({"rc": 1, "stdout": "", "stderr": "libc.so.6: cannot open shared object file"})
