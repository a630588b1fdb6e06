"""Requests that are held until there is news."""

import asyncio
import threading
import time
from typing import Any

import pytest

from operation import long_poll
from operation.long_poll import LongPoll

HOLD = 0.4


class Asked:
    """An app behind a LongPoll, which notes when it is asked."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.poll = LongPoll(self.app, "/ask")

    async def app(self, _scope: Any, _receive: Any, _send: Any) -> None:
        self.at.append(time.monotonic())

    async def ask(self, path: str = "/ask") -> float:
        """Ask, and return after how many seconds the app was."""
        began = time.monotonic()
        await self.poll({"type": "http", "path": path}, None, None)  # type: ignore[arg-type]
        return self.at[-1] - began


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "HOLD_SECONDS", HOLD)
    monkeypatch.setattr(long_poll, "_BETWEEN_SECONDS", 0.1)


def test_a_question_is_held_for_a_while_and_others_never() -> None:
    async def questions() -> None:
        asked = Asked()
        assert await asked.ask() < HOLD / 2  # the first: news may have come before
        assert await asked.ask() >= HOLD
        assert await asked.ask() >= HOLD
        assert await asked.ask("/other") < HOLD / 2
        await asyncio.sleep(0.2)
        assert await asked.ask() < HOLD / 2  # no request for a while

    asyncio.run(questions())


def test_news_from_any_thread_end_the_wait_of_all() -> None:
    async def questions() -> list[float]:
        asked = Asked()
        await asked.ask()
        news: list[float] = []

        def announce() -> None:
            news.append(time.monotonic())
            asked.poll.announce()

        threading.Timer(0.05, announce).start()
        waited = await asyncio.gather(asked.ask(), asked.ask())
        assert min(asked.at[1:]) >= news[0]
        return waited

    for waited in asyncio.run(questions()):
        assert waited < HOLD


def test_news_between_two_questions_are_not_missed() -> None:
    """Who was answered with nothing asks again after a tenth of a second."""

    async def questions() -> float:
        asked = Asked()
        await asked.ask()
        asked.poll.announce()
        await asyncio.sleep(0.05)
        return await asked.ask()

    assert asyncio.run(questions()) < HOLD / 2
