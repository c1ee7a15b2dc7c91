"""Sources around a source, each of which adds one behavior: retries, a rate limit, aborting stragglers.

It may import the contracts in `sources.source` and `sources.probe`. It must not know what kind of source is inside.
"""
