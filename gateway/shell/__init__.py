"""The doing: sockets, keys, stores. Every rule it follows is in core."""
