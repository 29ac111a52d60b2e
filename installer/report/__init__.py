"""The report: what happened at a site, for people who were not there."""
