"""HTTP for sources: requests, responses and their errors, on aiohttp.

This package is the only place of a site that imports aiohttp. It knows nothing of SAS tokens, packs or manifests.
"""
