"""The worker: from a lane's envelopes to its tenants' documents.

In three steps: `loop` (time, redelivery) -> `handle` (pure) -> `sink`.
"""
