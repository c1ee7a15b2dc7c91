"""Write progress, log lines and errors to stderr, and the result to stdout, for people and programs.

May import packages up to `install`. Must not make decisions, and must write only through `redact`.
"""
