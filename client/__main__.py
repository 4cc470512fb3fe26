"""`python -m client` is the `scoregate` command."""

from client.cli import main

main()
