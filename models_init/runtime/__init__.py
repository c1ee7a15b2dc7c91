"""The process and its machine: threads, the event loop, signals, memory limits, control groups.

This package imports only `core`. It does not know what the threads work on.
"""
