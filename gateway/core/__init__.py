"""Decisions: no asyncio, no HTTP, no clock, no logging. Time is an argument."""
