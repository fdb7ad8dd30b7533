"""GPU seats: what exists, who holds which, and in which order people get in.

One way through: ``devices`` (NVML → what exists) → ``seats`` (pure: which seat for whom) → ``ledger`` (who holds what)
→ ``broker`` (the one queue, inside the hub) → ``wiring`` (the request to Docker). Beside it ``watch``, a process of its
own on the machine with the GPUs, looks at their health and holds the memory limits.
"""
