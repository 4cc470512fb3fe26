"""`./dev manifests`: builds what k8s/ says for each overlay, holds every object against its schema, and all of them together
against our own rules. Nothing of it talks to a cluster.
"""
