"""Source decorators, each of which adds one behavior: retries, a rate limit, or aborting stragglers.

This package may import the interfaces in `sources.source` and `sources.probe`, but no kind of source.
"""
