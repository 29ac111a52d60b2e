"""The isolated side: verify, load and roll out a release."""
