"""Tests on one open class. A package, so that the fixture ends, and the class closes, after the last of them."""
