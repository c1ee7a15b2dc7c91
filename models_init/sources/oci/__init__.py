"""Container registries as sources, according to the OCI distribution specification.

`source` is the source, `registry` sends authorized requests and caches redirects to data hosts, `tokens` obtains the
authorization, `credential_files` finds the user and the password, `scheme` decides between https and plain http. This
package may import `http`; it must not write files.
"""
