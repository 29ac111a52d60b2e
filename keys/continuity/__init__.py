"""Keys that must survive: recorded, looked at, proved, copied away."""
