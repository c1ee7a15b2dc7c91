"""The image, the compose files, a real Docker engine that runs them."""
