"""Container registries: the source `oci://`, authentication, publishing, and copies made by other tools."""
