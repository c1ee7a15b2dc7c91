"""The actions of `models-init`, one module each, imported by name when it is asked for.

Each has `run(command, settings)`, which returns a `Result`. It may import everything below `cli`, at its top; a new
one needs a flag in `arguments` and the names of its results in `output.render`.
"""
