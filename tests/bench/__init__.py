"""The benchmark: models_init compared with tools that users could use instead, in turn on the same server."""
