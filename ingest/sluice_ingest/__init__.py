"""The ingest service: from an HTTP request to an acknowledged message, in `routes -> admit (pure) -> commit`."""
