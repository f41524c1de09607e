"""The operator: turns Tenant objects into everything a tenant needs, and keeps it so.

`handlers` says when to look (the only kopf decorators), `reconcile` and `removal` what to do, `manifests` what the
objects are, `kube` how they get into the cluster. Provisioning in the broker and the database is `sluice_core.edge`'s,
shared with the command line. Invariant: whatever happens twice, late or half, the next look reaches the same state.
"""
