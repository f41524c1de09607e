"""The embedded stack: a real nats-server and a real mongod as child processes.

`sluice up`, `sluice demo` and the tests run on it, with the same users and permissions as a cluster. Start at
`sluice_local.stack.Servers`. This package starts and stops programs; it never speaks their protocols.
"""
