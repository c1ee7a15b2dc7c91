"""HTTP for sources, based on aiohttp: requests, responses and their errors.

Only this package of the site's program imports aiohttp. It knows nothing of SAS tokens, packs or manifests.
"""
