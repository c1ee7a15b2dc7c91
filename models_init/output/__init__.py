"""Write what people and programs read: progress, log lines and errors to stderr, the result to stdout.

May import packages up to `install`. Must not make decisions, and must write only through `redact`.
"""
