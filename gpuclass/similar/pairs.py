"""Compares what students wrote themselves. Values in, values out: the same input gives the same list. Pure.

Fingerprints are all runs of `PASSAGE` tokens; winnowing, which keeps some of them, is for corpora larger than a class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

PASSAGE = 16  # tokens; about two lines. What is shorter is alike by chance
ENOUGH = 50  # tokens of a student's own; with fewer, two who think alike write alike
EVERYBODY = 5  # students: a passage that more of them have ...
EVERYBODY_SHARE = 0.2  # ... and more than this part of the class, is what the exercise leads to

Run = tuple[str, ...]


@dataclass(frozen=True)
class Own:
    """A token that the student wrote, and where: index of the cell, from and to which character."""

    text: str
    cell: int
    start: int
    end: int


@dataclass(frozen=True)
class Work:
    """One student's answers.

    Attributes:
        login: whose.
        team: of the roster; empty for none.
        cells: the answers' whole text by ``notebook/grade_id``, to be shown.
        own: what of them is not explained by the release.
        cut: the answers were too long and only the first part is compared.
    """

    login: str
    team: str
    cells: Mapping[str, str]
    own: Sequence[Own]
    cut: bool = False

    @cached_property
    def runs(self) -> list[Run]:
        """The fingerprint that begins at each token."""
        texts = [token.text for token in self.own]
        return [tuple(texts[at : at + PASSAGE]) for at in range(len(texts) - PASSAGE + 1)]


@dataclass(frozen=True)
class Passage:
    """What two have in common in one piece: tokens ``a[0]`` up to ``a[1]`` of one, ``b[0]`` up to ``b[1]`` of other."""

    a: tuple[int, int]
    b: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two students; ``share_a`` is the part of the own code of ``a`` that ``b`` has too, between 0 and 1."""

    a: Work
    b: Work
    share_a: float
    share_b: float
    passages: tuple[Passage, ...]

    @property
    def share(self) -> float:
        """By which pairs are sorted: the larger of both."""
        return max(self.share_a, self.share_b)

    @property
    def same_team(self) -> bool:
        """They worked together, and were meant to."""
        return bool(self.a.team) and self.a.team == self.b.team


@dataclass(frozen=True)
class Comparison:
    """All that is to be said: pairs from the most alike on, and who wrote too little of their own to tell."""

    pairs: tuple[Pair, ...]
    too_short: tuple[str, ...]
    compared: int


def compare(works: Sequence[Work], threshold: float) -> Comparison:
    """Everybody with everybody.

    Args:
        works: one for each student.
        threshold: pairs that share less, from 0 to 1, are not listed.
    """
    had_by = Counter(run for work in works for run in set(work.runs))
    many = max(EVERYBODY, EVERYBODY_SHARE * len(works))
    usual = {run for run, number in had_by.items() if number > many}
    rare = {work.login: {run for run in work.runs if run not in usual} for work in works}
    counted = {work.login: _counted(work, rare[work.login]) for work in works}
    enough = [work for work in works if len(counted[work.login]) >= ENOUGH]
    pairs = []
    for a, b in combinations(sorted(enough, key=lambda work: work.login), 2):
        common = rare[a.login] & rare[b.login]
        if not common:
            continue
        share_a, share_b = (len(_covered(work, common)) / len(counted[work.login]) for work in (a, b))
        if max(share_a, share_b) >= threshold:
            pairs.append(Pair(a, b, share_a, share_b, tuple(_passages(a, b, common))))
    pairs.sort(key=lambda pair: (-pair.share, -min(pair.share_a, pair.share_b), pair.a.login, pair.b.login))
    short = sorted(work.login for work in works if len(counted[work.login]) < ENOUGH)
    return Comparison(tuple(pairs), tuple(short), len(enough))


def _counted(work: Work, rare: set[Run]) -> set[int]:
    """The tokens that say something about this student: without what many have."""
    if len(work.own) < PASSAGE:
        return set()
    return _covered(work, rare)


def _covered(work: Work, runs: set[Run]) -> set[int]:
    found: set[int] = set()
    for at, run in enumerate(work.runs):
        if run in runs:
            found.update(range(at, at + PASSAGE))
    return found


def _passages(a: Work, b: Work, common: set[Run]) -> Iterator[Passage]:
    """Common runs, put together where they go on in both."""
    places: dict[Run, int] = {}
    for at, run in enumerate(b.runs):
        places.setdefault(run, at)
    at = 0
    while at < len(a.runs):
        if a.runs[at] not in common:
            at += 1
            continue
        begin, other = at, places[a.runs[at]]
        length = 0
        while at < len(a.runs) and other + length < len(b.runs) and a.runs[at] == b.runs[other + length]:
            if a.runs[at] not in common:
                break
            at, length = at + 1, length + 1
        yield Passage((begin, at - 1 + PASSAGE), (other, other + length - 1 + PASSAGE))
