"""The SQLite store in its refuge keeps the contract, and finds the way home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store_contract import NOW, StoreContract

from budgetd.store import Store
from budgetd.stores.sqlite import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(open_store(path, NOW)) as opened:
        opened.take_refuge("the disk is full")
        yield opened


class TestSqliteStoreInRefuge(StoreContract):
    """The whole contract."""
