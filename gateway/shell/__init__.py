"""I/O: keys, Redis, scorer pods, bodies. Each module carries out what a module of `gateway.core` decided."""
