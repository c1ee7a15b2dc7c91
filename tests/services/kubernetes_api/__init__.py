"""A fake Kubernetes API server in memory, on which real helm installs, upgrades, rolls back and uninstalls."""
