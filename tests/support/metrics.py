"""Reading what a process says of itself at `/metrics`, as Prometheus would."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


async def read_metric(http: httpx.AsyncClient, url: str, name: str, **labels: str) -> float:
    """Sum of a metric's samples that have these labels; 0 where there is none yet."""
    text = (await http.get(url)).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
