"""What the exchange keeps, and how it stays: content-addressed files and one SQLite database. Knows no HTTP.

``store.Store`` is the way in; ``schema`` and ``migrations`` say what the database looks like.
"""
