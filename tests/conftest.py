"""What all tests may use: a class's settings in a folder of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpuclass.settings import Settings, load

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Write a class.toml and load it: ``make_settings('[network]\\ninternet = "open"')``."""

    def make(more: str = "", *, name: str = "camp", title: str = "Camp") -> Settings:
        path = tmp_path / "class.toml"
        path.write_text(f'[class]\nname = "{name}"\ntitle = "{title}"\n{more}', encoding="utf-8")
        return load(path, environ={})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """A class with every setting at its default."""
    return make_settings()
