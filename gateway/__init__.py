"""The gateway: identity, limits, contracts and coalescing in front of the scorer. It never runs R and never reads the store."""
