"""How long accepting takes at a given load, from little to more than can be accepted.

Requests are due at a steady pace whatever becomes of those before them, and latency counts from when they were due: a
generator that waits for answers would not notice a queue.
"""

from bench.accepting import CONNECTIONS, job, singles
from bench.figures import Collected, Figure
from bench.load import Job, run_in_process
from bench.options import Options
from bench.stand import Stand, empty_lane
from sluice_local.ports import HOST

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.1)
"""Of what is accepted at most."""


async def latency(stand: Stand, options: Options) -> list[Figure]:
    """p50 and p99 of single-record requests at shares of the highest rate, which is measured right before."""
    found = Collected("latency")
    requests = singles(list(options.lines), [stand.key])
    for _ in range(options.repeats):
        most = (await run_in_process(job(stand.port, requests, options.seconds))).per_second()
        await empty_lane(stand)
        found.add("accepted at most", most, "/s", note=f"{CONNECTIONS} connections, each sends when it has its answer")
        for share in SHARES:
            load = Job(HOST, stand.port, 2 * CONNECTIONS, options.seconds, 1.0, requests, share * most)
            result = await run_in_process(load)
            await empty_lane(stand)
            note = f"p50 {result.quantile(0.5) * 1000:.1f} ms, {result.per_second():,.0f}/s accepted"
            found.add(f"p99 at {share:.0%} of that", result.quantile(0.99) * 1000, "ms", note=note)
    return found.figures()
