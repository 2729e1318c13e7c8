"""The version of this installation."""

VERSION = "1.0.0.dev1"
"""As in pyproject.toml (a test compares them): read without importlib.metadata, which costs 30 ms."""
