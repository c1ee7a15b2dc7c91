"""The command line of `models-pack`, with one module per subcommand.

It may import every package of `publish`. It must not contain logic that another command needs.
"""
