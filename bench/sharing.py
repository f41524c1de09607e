"""What it costs that a lane is shared: the same requests, sent by one tenant and by many in turn.

The harshest case for both ends: every request brings one record, so what lies in an envelope, and in what a worker
pulls, is of as many tenants as can be.
"""

from contextlib import AsyncExitStack

from bench.accepting import CONNECTIONS, job, measured, singles
from bench.figures import Collected, Figure
from bench.options import Options
from bench.stand import Stand, stand
from bench.storing import drain, fill

GOAL = 0.5
_REQUESTS = 2000


async def tenants(options: Options) -> list[Figure]:
    """Accepting and storing, each with one stack for every number of tenants; all of them stand side by side."""
    found = Collected("tenants")
    async with AsyncExitStack() as stands:
        ready = [await stands.enter_async_context(stand(number)) for number in options.tenants]
        for _ in range(options.repeats):
            alone: tuple[float, float] | None = None
            for one in ready:
                accepted, stored, notes = await _measure(one, options)
                alone = alone or (accepted, stored)
                number = len(one.names)
                goal = GOAL if number > 1 else None
                who = f"{number:,} tenants" if number > 1 else "1 tenant"
                found.add(
                    f"accepted, {who}", accepted, "/s", ceiling=alone[0], ceiling_is="/s, 1 tenant", goal=goal,
                    note=notes[0],
                )  # fmt: skip
                found.add(
                    f"stored, {who}", stored, "records/s", ceiling=alone[1], ceiling_is="records/s, 1 tenant",
                    goal=goal, note=notes[1],
                )  # fmt: skip
    return found.figures()


async def _measure(one: Stand, options: Options) -> tuple[float, float, tuple[str, str]]:
    requests = singles(list(options.lines), one.keys, max(_REQUESTS, 2 * len(one.keys)))
    result, accepting = await measured(one, job(one.port, requests, options.seconds, CONNECTIONS))
    # As much as the other benches of storing have: with a handful of records for each, only first writes would be seen.
    accepted = int(result.per_second() * options.seconds)
    await fill(one, requests, max(options.records - accepted, 0))
    stored, storing = await drain(one)
    return (
        result.per_second(),
        stored,
        (
            f"ingest {accepting['ingest']:.0f} us a request",
            f"worker {storing['worker-1']:.0f} us a record, database {storing['mongod']:.0f} us",
        ),
    )
