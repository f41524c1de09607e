"""What it costs that a lane is shared: the same requests, sent by 1, 100 and 1,000 tenants in turn."""

import asyncio
import sys
import time

import msgspec

from bench.cpu import since, spent
from bench.data import make_lines
from bench.load import Job, request, run_in_process
from bench.stand import add_tenants, stand
from sluice_core.edge.store import connect
from sluice_core.names import LOGS_COLLECTION, STANDARD_LANE, tenant_database
from sluice_local.ports import HOST


def requests(lines, keys, records):
    made = []
    for number in range(max(2000, 2 * len(keys))):
        key = keys[number % len(keys)]
        if records == 1:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            body = msgspec.json.encode({"text": lines[number % len(lines)]})
        else:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
            at = number * records % (len(lines) - records)
            body = msgspec.json.Encoder().encode_lines([{"text": line} for line in lines[at : at + records]])
        made.append(request("/ingest", body, headers))
    return made


async def stored(client, names):
    async def one(name):
        return await client[tenant_database(name)][LOGS_COLLECTION].estimated_document_count()

    return sum(await asyncio.gather(*(one(name) for name in names)))


async def run(counts, seconds, records):
    lines = make_lines(16000)
    for count in counts:
        async with stand() as stack:
            t = time.perf_counter()
            names = [f"t{n:04}" for n in range(count)]
            keys = await add_tenants(stack, names)
            print(count, "provisioned in", round(time.perf_counter() - t, 1))
            pids = stack.endpoints.pids
            job = Job(HOST, stack.ingest.port, 64, seconds, 1.0, requests(lines, keys, records))
            before = spent(pids)
            result = await run_in_process(job)
            cpu = since(before, pids)
            total = sum(result.statuses.values())
            print(
                count,
                "accept",
                result.statuses,
                round(result.per_second()),
                "req/s",
                {k: f"{v / (result.per_second() * (seconds + 1)) * 1e6:.0f}us" for k, v in cpu.items()},
            )
            client = connect(stack.endpoints.mongodb)
            info = await stack.rights.broker.api("STREAM.INFO.SLUICE_LANE_standard")
            print("messages", info["state"]["messages"])
            t0 = time.perf_counter()
            await stack.start_worker(STANDARD_LANE)
            pids = {s.name: s.ready_pid for s in [stack.servers.nats, stack.servers.mongod, *stack.parts]}
            before = spent(pids)
            t1 = time.perf_counter()
            while True:
                info = await stack.rights.broker.api("STREAM.INFO.SLUICE_LANE_standard")
                if info["state"]["messages"] == 0:
                    break
                await asyncio.sleep(0.05)
            t2 = time.perf_counter()
            cpu = since(before, pids)
            n = await stored(client, names)
            print(
                count,
                "store",
                n,
                round(n / (t2 - t1)),
                "rec/s",
                {k: f"{v / n * 1e6:.1f}us" for k, v in cpu.items()},
                flush=True,
            )
            import urllib.request

            def m():
                with urllib.request.urlopen(stack.workers[STANDARD_LANE].url + "/metrics") as a:
                    v = dict(l.rsplit(" ", 1) for l in a.read().decode().splitlines() if not l.startswith("#"))
                return float(v["sluice_worker_window_records_sum"]) / float(v["sluice_worker_window_records_count"])

            print("window", await asyncio.to_thread(m))
            client.close()


asyncio.run(run([int(x) for x in sys.argv[1].split(",")], float(sys.argv[2]), int(sys.argv[3])))
