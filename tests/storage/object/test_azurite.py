"""Datasets in an Azure store: the contract and a race, on an Azurite of the test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.storage.object.azurite import azurite, command
from tests.storage.object.races import run
from tests.storage.object.test_contract import TestOnAnS3Server as OnAServer

pytestmark = pytest.mark.skipif(
    not command(), reason="needs Azurite: npm install azurite, or KYMFLOW_ZARR_AZURITE"
)
NUMBERS = itertools.count()
RUN = uuid.uuid4().hex[:8]


@pytest.fixture(scope="module")
def azure_options() -> Iterator[dict[str, Any]]:
    with azurite() as options:
        yield options


def new_place() -> str:
    return f"az://bucket/{RUN}/{next(NUMBERS)}.zarr"


class TestOnAzurite(OnAServer):
    @pytest.fixture(autouse=True)
    def _server(self, azure_options: dict[str, Any]) -> None:
        self._options: dict[str, Any] = azure_options
        self._new_address: Callable[[], str] = new_place

    def faults(self) -> Iterator[Any]:
        return itertools.islice(super().faults(), 1, None, 3)


def test_killed_writers_and_lost_answers_lose_nothing(azure_options: dict[str, Any]) -> None:
    account = run(new_place(), azure_options, seconds=3, writers=2, kills_per_s=1)
    assert account.problems == []
    assert account.acknowledged > 0
    assert account.killed > 0
