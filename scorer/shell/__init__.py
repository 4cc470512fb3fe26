"""Doing: the store, R processes, sockets, files, metrics. Decisions are taken in `scorer.core`."""
