"""The exchange's HTTP service. ``app`` puts it together; ``ngshare``, ``v1``, ``desk`` and ``submitting`` answer.

A submission's way in: ``edge`` notes when it came, ``identity`` who sent it, ``pacing`` how often, ``bounds`` how much,
``streams`` puts it on disk while it comes, the store gives the receipt.
"""
