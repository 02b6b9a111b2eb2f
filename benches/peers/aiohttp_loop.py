"""Polls the Pipeline API like an exporter in Python: aiohttp, IN_FLIGHT concurrent requests, JSON into a dict.

    aiohttp_loop.py BASE_URL KEY IN_FLIGHT REQUESTS <IDS    (one per line)

Prints the CPU seconds and the elapsed seconds of all requests.
"""
import asyncio
import resource
import sys
import time

import aiohttp

ENDPOINTS = ("status", "metrics", "destination-health")


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main(base, key, in_flight, requests):
    ids = sys.stdin.read().split()
    paths = (f"{base}{ids[n // 3 % len(ids)]}/{ENDPOINTS[n % 3]}/" for n in range(requests))
    picture = {}

    async def worker(session):
        for path in paths:
            async with session.get(path) as response:
                picture[path] = (await response.json())["data"]

    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        begin, before = time.monotonic(), cpu()
        await asyncio.gather(*(worker(session) for _ in range(in_flight)))
        print(cpu() - before, time.monotonic() - begin)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
