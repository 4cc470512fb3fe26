"""The gateway: identity, limits and data are checked here; predictions are made elsewhere."""
