"""The subcommands of `models-pack`; each module defines its arguments and formats its result.

To add a subcommand, write a module with `NAME`, `HELP`, `configure` and `run`, and add it to `COMMANDS` in
`cli/main.py`. The module docstring is the command's description in `--help`. Dependencies of a single command (the
Azure SDK) are imported inside its functions.
"""
