"""Decisions: no I/O, no clock, no asyncio. Time comes in as `now` (seconds, monotonic), what to do goes out as values."""
