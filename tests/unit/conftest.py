"""Settings of Hypothesis for the pure tests.

No deadline, since CI machines pause as they like. Few examples by default, so that the folder stays quick to run:
`pytest tests/unit --hypothesis-profile=thorough` looks longer.
"""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=15)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("unit")
