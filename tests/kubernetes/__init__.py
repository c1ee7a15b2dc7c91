"""Kubernetes: the Helm chart with real helm, what kubelet does to a volume, and the flags that a pod uses."""
