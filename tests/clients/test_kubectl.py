"""Every command of kubectl, by two versions of it, as transcripts that people could have typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.transcripts import differences, matches, parse

pytestmark = pytest.mark.slow
TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_transcript(path, user, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    found = differences(path.read_text(), folder, user.environment)
    assert not found, "\n" + "\n".join(found)


def test_a_transcript_that_is_not_true_fails(tmp_path):
    text = "Prose.\n\n  $ printf 'a\\nb\\n'\n  a\n  b\n  $ false\n  [1]\n  $ echo x >&2\n  x\n"
    assert differences(text, tmp_path, {"PATH": "/usr/bin:/bin"}) == []
    for wrong in (text.replace("  b", "  c"), text.replace("[1]", "[2]"), text + "  more\n"):
        assert len(differences(wrong, tmp_path, {"PATH": "/usr/bin:/bin"})) == 1
    assert [step.command for step in parse("  $ a\n  > b\n  c\n  > d\n")] == ["a\nb"]
    assert matches(["a...z", "..."], ["abcz", "1", "2"])
    assert not matches(["a...z"], ["abc", "z"])
