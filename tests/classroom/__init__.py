"""Tests on one open class, which is closed again after the last of them: a package, so that a fixture can be its own."""
