"""Several streams as one: nothing is lost, and one failure ends all."""

import asyncio

import pytest

from amusd.coordinator.merging import merge


def test_every_item_of_every_source_comes_in_its_order():
    async def count(name, until):
        for number in range(until):
            await asyncio.sleep(0)
            yield name, number

    async def collect():
        return [item async for item in merge([count("a", 3), count("b", 5), count("c", 0)])]

    items = asyncio.run(collect())
    assert sorted(items) == [("a", i) for i in range(3)] + [("b", i) for i in range(5)]
    assert [i for name, i in items if name == "b"] == list(range(5))


async def endless(ended, fail_at=None):
    try:
        number = 0
        while True:
            if number == fail_at:
                raise ValueError("broken")
            yield number
            number += 1
            await asyncio.sleep(0)
    finally:
        ended.append(1)


def test_a_failure_is_raised_and_ends_the_others():
    ended = []

    async def drain():
        async for _ in merge([endless(ended), endless(ended, fail_at=3), endless(ended)]):
            pass

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(drain())
    assert len(ended) == 3


def test_closing_ends_every_source():
    ended = []

    async def leave():
        merged = merge([endless(ended), endless(ended)])
        async for _ in merged:
            break
        await merged.aclose()
        return list(ended)

    assert asyncio.run(leave()) == [1, 1]
