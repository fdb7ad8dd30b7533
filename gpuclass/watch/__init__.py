"""What happens on the GPUs while people work: health, memory limits, idle seats.

``service`` is a process of its own on the machine with the GPUs: it publishes ``usage``, judges it with ``limits``
(pure) and signals the processes that ``holders`` finds. ``reclaim`` runs in the hub and gives back the seats that
``idle`` names. Whoever is concerned reads it in their ``notices``.
"""
