"""CPU time of eighty password checks at once: our argon2 parameters against argon2-cffi's default ones.

    python benchmarks/login.py [--logins 80]

Both run through the same two threads in the same process, one after the other. The last line is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import argon2

from gpuclass.login import HASHES_AT_ONCE
from gpuclass.passwords import digest, generate, matches

LIMIT = 0.2  # eighty checks are then a second of two cores, beside starting eighty servers


def main() -> int:
    """Measure, print, say whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logins", type=int, default=80, help="checks of each variant (default: 80)")
    logins: int = parser.parse_args().logins

    password = generate()
    ours, stock = digest(password), argon2.PasswordHasher()
    stocks = stock.hash(password)
    figures = {
        "gpuclass": measure(lambda: matches(ours, password), logins),
        "stock": measure(lambda: stock.verify(stocks, password), logins),
    }
    for name, (cpu, wall) in figures.items():
        print(f"{name}: {logins} checks, {cpu:.2f} s of CPU, done after {wall:.2f} s")
    ratio = round(figures["gpuclass"][0] / figures["stock"][0], 3)
    print(
        json.dumps(
            {
                "benchmark": "login",
                "ratio": ratio,
                "limit": LIMIT,
                "logins": logins,
                "cpu_seconds": {name: round(cpu, 3) for name, (cpu, _) in figures.items()},
                "wall_seconds": {name: round(wall, 3) for name, (_, wall) in figures.items()},
            }
        )
    )
    return 0 if ratio <= LIMIT else 1


def measure(check: Callable[[], bool], logins: int) -> tuple[float, float]:
    """CPU and wall seconds of so many checks, as many at once as in the hub."""
    with ThreadPoolExecutor(HASHES_AT_ONCE) as threads:
        cpu, wall = time.process_time(), time.perf_counter()
        right = list(threads.map(lambda _: check(), range(logins)))
        assert all(right)  # noqa: S101  # a benchmark of refused passwords would measure something else
        return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    sys.exit(main())
