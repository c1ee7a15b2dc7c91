"""What people and programs read: progress, log lines and errors on stderr, the result on stdout.

It may import packages up to `install`. It must not decide anything, and writes only through `redact`.
"""
