"""The gateway: identity, limits, contracts and coalescing in front of the scorer. It never runs R and never reads the store."""

#: Of the whole project, as `pyproject.toml` has it.
VERSION = "0.1.0"
