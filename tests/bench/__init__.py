"""The benchmark: models_init compared with tools that its users would use instead, in turns on the same server."""
