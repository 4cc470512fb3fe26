"""Tests without a socket, a process or a wait: a folder for each part of the project, a file for each of its modules.

`kubernetes` is for `k8s/` and what checks it, `repository` for what holds across parts: imports, documentation, a form that two
services share.
"""
