"""The subcommands of `models-pack`: each knows its arguments and how its result reads.

A new one is a module with `NAME`, `HELP`, `configure` and `run`, and a line in the table of `__main__`. What only one
command needs (the Azure SDK) is imported inside its `run`.
"""
