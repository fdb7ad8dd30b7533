"""The way in: the one queue for starting a server and for a GPU seat, inside the hub.

``admission`` (pure: order, how many at once, estimates) → ``broker`` (lets people in) → ``books`` (the only place where
a seat becomes free: ledger and engine compared). ``pages``, ``words`` and ``metrics`` tell people about it.
"""
