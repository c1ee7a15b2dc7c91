"""Kubernetes: the Helm chart with real helm, kubelet's changes to a volume, and the flags that a pod uses."""
