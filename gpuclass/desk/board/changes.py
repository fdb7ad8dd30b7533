"""What a board shows at one moment, and what has to be said to one that shows another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuclass.desk.board.snapshot import Snapshot
from gpuclass.desk.board.tiles import Tile, Totals, ranked, tiles, totals


@dataclass(frozen=True)
class View:
    """What one board shows.

    Attributes:
        tiles: by login, who needs help first.
        totals: the line above them.
    """

    tiles: Mapping[str, Tile]
    totals: Totals

    @property
    def order(self) -> tuple[str, ...]:
        """Logins, who needs help first."""
        return tuple(self.tiles)


@dataclass(frozen=True)
class Changes:
    """What leads from one view to another.

    Attributes:
        tiles: logins whose tile is new or another.
        gone: logins that have no tile any more.
        order: all logins, if they are not in the same order as before; None if they are.
        totals: whether the line above is another.
    """

    tiles: tuple[str, ...] = field(default=())
    gone: tuple[str, ...] = field(default=())
    order: tuple[str, ...] | None = None
    totals: bool = False

    def __bool__(self) -> bool:
        return bool(self.tiles or self.gone or self.order is not None or self.totals)


def view(snapshot: Snapshot, known: Mapping[str, Tile] | None = None) -> View:
    """The board of a snapshot; a tile that is as in ``known`` is that very one, so that many views take little room."""
    known = known or {}
    found = [known[each.login] if known.get(each.login) == each else each for each in tiles(snapshot)]
    return View({each.login: each for each in ranked(found)}, totals(snapshot, found))


def changes(before: View | None, after: View) -> Changes:
    """What to say to a board that shows ``before``; None for one that shows nothing yet."""
    if before is None:
        return Changes(after.order, (), after.order, totals=True)
    return Changes(
        tuple(login for login, tile in after.tiles.items() if before.tiles.get(login) != tile),
        tuple(login for login in before.tiles if login not in after.tiles),
        after.order if before.order != after.order else None,
        before.totals != after.totals,
    )
