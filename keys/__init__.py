"""Trust: who may sign, and which keys must survive. Imports bundles only."""
