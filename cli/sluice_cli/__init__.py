"""The `sluice` command: everything a person does with Sluice, on a laptop or against a cluster.

One module for each noun holds its commands; what formats is apart from what does. Start at `sluice_cli.app`. Invariant:
standard output holds results only, standard error everything said about them, and no error reaches a person as a
traceback.
"""
