"""The way to the API server: a small client, and comparing what is there with what is wanted.

Invariant: nothing outside this package makes a request of its own to the cluster, kopf excepted.
"""
