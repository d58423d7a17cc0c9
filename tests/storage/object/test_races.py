"""Writers are killed, answers are lost, and what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.storage.object.races import run


def test_killed_writers_and_lost_answers_lose_nothing(
    s3_options: dict[str, Any], new_address: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_options["access_key_id"])
    account = run(new_address(), s3_options, seconds=3, writers=2, kills_per_s=1)
    assert account.problems == []
    assert account.acknowledged > 0
    assert account.killed > 0
