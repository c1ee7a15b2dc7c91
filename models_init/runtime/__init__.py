"""The process and its machine: threads, the event loop, signals, memory limits, control groups.

This package imports only `core`. It does not depend on the work that the threads do.
"""
