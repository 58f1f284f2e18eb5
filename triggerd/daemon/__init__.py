"""The daemon: claim -> registry -> runner -> settle, and what keeps it alive and honest."""
