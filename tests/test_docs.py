"""The docs say what the code does: generated pages are fresh, links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from jupyterhub.scopes import _check_scopes_exist

from gpuclass import ROOT, reference, roles
from gpuclass.cli import app
from gpuclass.settings import sections

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_is_fresh(name: str) -> None:
    page = ROOT / "docs" / "reference" / f"{name}.md"
    assert page.read_text(encoding="utf-8") == reference.PAGES[name](), "run `make docs` and commit what it changes"


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    for name, section in sections().items():
        _, _, rest = page.partition(f"## `[{name}]`\n")
        table, _, _ = rest.partition("\n## ")
        documented = re.findall(r"^\| `(\w+)` \|.*\| \S.* \|$", table, re.MULTILINE)
        assert documented == list(section.model_fields), name


@pytest.mark.parametrize("subdomains", [True, False])
def test_every_scope_exists_and_has_its_reason_in_the_docs(subdomains: bool) -> None:
    page = (ROOT / "docs" / "reference" / "roles.md").read_text(encoding="utf-8")
    settings = reference.example(subdomains=subdomains)
    for scopes in (roles.SERVER_TOKEN, *(role.scopes for role in roles.hub_roles(settings))):
        _check_scopes_exist(scopes)
        for scope, reason in scopes.items():
            assert reason.endswith(".")
            assert f"| `{scope}` | {reason} |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http://", "https://", "mailto:"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert [page for page in pages if f"({page})" not in index and page != "index.md"] == []


def commands(group: typer.core.TyperGroup, path: str = "gpuclass") -> Iterator[tuple[str, bool]]:
    """Every command, and whether it holds others."""
    yield path, True
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", False


def test_every_command_that_a_text_names_is_there() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    known = dict(commands(root))
    texts = [*PAGES, ROOT / "Makefile", *ROOT.glob("*.toml"), *(ROOT / "gpuclass").rglob("*.py")]
    named = {
        (str(text.relative_to(ROOT)), command)
        for text in texts
        for command in re.findall(r"`(gpuclass(?: [a-z]+)*)", text.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    holds_others = [known.get(command.rpartition(" ")[0], True) for _, command in named]  # else: its argument
    wrong = [pair for pair, group in zip(named, holds_others, strict=True) if pair[1] not in known and group]
    assert wrong == []
