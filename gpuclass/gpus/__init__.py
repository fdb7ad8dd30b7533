"""GPU seats: what exists, who may have which, and who holds what.

``devices`` (NVML → what exists) → ``seats`` (pure: which seat for whom) → ``ledger`` (who holds what) → ``wiring`` (the
request to Docker). ``reconcile`` (pure) joins the ledger with the engine's containers. ``overview`` and ``accounting``
are what the command line shows of all that. Who waits and who gets in is
``gpuclass.queue``; what happens on the GPUs meanwhile is ``gpuclass.watch``.
"""
