"""The `scoregate` command's subcommands, one per file."""
