"""The contract every part of Sluice shares.

Everything directly in this package is pure: it decides and describes, and never touches a socket, a clock it was not
given, or the environment. What talks to NATS and MongoDB lives in `sluice_core.edge`.
"""
