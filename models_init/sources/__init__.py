"""Where manifests and bytes come from: one module for each kind of source, and one contract for all."""
