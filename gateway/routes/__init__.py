"""The addresses, one file per interface: v1, v2 (Open Inference Protocol), docs, internal."""
