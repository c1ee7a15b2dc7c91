"""Kubernetes: what kubelet does to a volume, and the flags that a pod uses."""
