"""Decisions: pure, without asyncio, HTTP, clock or logging. They take `now` as an argument and return what to do."""
