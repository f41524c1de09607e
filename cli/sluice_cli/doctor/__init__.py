"""`sluice doctor`: whether everything is as it should be, and what mends what is not.

One module gathers facts, the others judge them: facts in, findings out, without a look at anything. Invariants: it
changes nothing; and no finding shows a secret.
"""
