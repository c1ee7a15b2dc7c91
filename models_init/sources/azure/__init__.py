"""Azure Blob Storage as a source: the source, SAS tokens, and the meaning of the service's errors.

`source` may import the others and `http`; `sas`, `errors` and `error_codes` perform no I/O and are shared with uploads.
"""
