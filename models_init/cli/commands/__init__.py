"""Implement the actions of `models-init`, one module each, imported by name when requested.

Each module has `run(command, settings)`, which returns a `Result`. It may import all packages below `cli` at its top. A
new action also needs a flag in `arguments` and the rendering of its result in `output.render`.
"""
