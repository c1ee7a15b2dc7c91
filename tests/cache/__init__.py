"""The site cache of deploy/cache, run with a real nginx: many clients, wrong bytes, outages, full disks."""
