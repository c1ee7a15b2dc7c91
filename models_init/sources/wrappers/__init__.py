"""Source decorators, each of which adds one behavior: retries, a rate limit, or aborting stragglers.

This package imports no kind of source.
"""
