"""HTTP for sources, based on aiohttp: requests, responses and their errors.

Only this package of the site's program imports aiohttp. It does not depend on packs or manifests.
"""
