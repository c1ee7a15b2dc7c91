"""The command line of `models-pack`: one module for each subcommand.

It may import every package of `publish`. It must not hold logic that another command needs.
"""
