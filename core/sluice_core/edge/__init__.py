"""The I/O edge: the only modules that talk to NATS and MongoDB.

What is above it sees small classes in Sluice's own words and its own errors; what is below are nats-py and Motor, each
imported in as few places as can be.
"""
