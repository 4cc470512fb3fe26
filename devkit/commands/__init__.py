"""The subcommands of `./dev`, by what they are about; the work is in the modules of `devkit`, imported when it is needed."""
