"""Waiting for the end of work whose answer is sent whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from fastapi import Request

from modelyard.core import errors

Result = TypeVar("Result", covariant=True)


class Step(Protocol[Result]):
    """A moment of some work; `result` at its end."""

    @property
    def result(self) -> Result | None: ...


async def last_result(steps: AsyncGenerator[Step[Result]], http: Request) -> Result:
    """Return the result of the last step; closes the steps when the client has gone, which stops the work.

    Raises Conflict when the client has gone, and the error the work ended with.
    """
    async with aclosing(steps):
        async for step in steps:
            if step.result is not None:
                return step.result
            if await http.is_disconnected():
                break
    raise errors.Conflict("The client has gone.", hint="Ask again.")
