"""A small client of Kubernetes: what builds need of it, synchronous, cancellable, silent about secrets.

`client.Cluster` is where to begin; `kinds` names what it can be asked about, `failures` what it
raises. Nothing in here knows of kaniko.
"""
