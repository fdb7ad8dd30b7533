"""The exchange that is attacked: the real service on loopback, as in tests/exchange."""

from __future__ import annotations

import secrets

import pytest

from tests.exchange.conftest import NOTEBOOK, Camp, camp, tree

__all__ = ["assignment", "camp"]


@pytest.fixture
def assignment(camp: Camp) -> str:
    """The name of an assignment that is released, for this test alone."""
    name = f"a{secrets.token_hex(4)}"
    assert camp.by("teacher").post(f"api/assignment/camp/{name}", data={"files": tree(NOTEBOOK)}).is_success
    return name
