"""The work behind the routes: uploads are read, checked, queued for the model, and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from fundus.runtime.threads import opencv_in_our_threads, processor_share
from fundus.serving.batches import Batches
from fundus.serving.limits import ServingLimits
from fundus.serving.metrics import Metrics
from fundus.serving.photographs import Checked, check
from fundus.serving.problems import Problem, mistake, no_memory
from fundus.serving.served import ServedModel
from fundus.serving.uploads import Held, Lease, Upload, read_uploads

T = TypeVar("T")


class Service:
    """The work behind the routes.

    Parameters
    ----------
    served : ServedModel
        Warmed up.
    limits : ServingLimits
    """

    def __init__(self, served: ServedModel, limits: ServingLimits) -> None:
        self.served, self.limits = served, limits
        self.held = Held(limits.max_held)
        self.metrics = Metrics(lambda: self.batches.waiting, lambda: self.held.bytes)
        self.batches: Batches[Checked] = Batches(
            served.grade,
            served.map,
            max_batch=limits.max_batch,
            max_waiting=limits.max_waiting,
            took=self.metrics.took,
        )
        self._checking = 0
        threads = processor_share()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fundus-check")
        # what waits for a thread waits here, where it ends with its client, not in the pool
        self._free = asyncio.Semaphore(threads)

    def close(self) -> None:
        """End the threads."""
        self.batches.close()
        self._pool.shutdown(cancel_futures=True)

    async def grades(
        self, request: Request, *, quality: bool, one: bool = False
    ) -> list[dict[str, Any] | Problem]:
        """Grade the photographs of a request, in order."""
        with Lease(self.held) as lease:
            self.batches.expect(1)
            try:
                uploads = await read_uploads(request, self.limits, lease)
                if one:
                    uploads = [_only(uploads)]
                until = self._until()
                checked = await self._all_checked(request, uploads, until, quality=quality)
                good = [found for found in checked if isinstance(found, Checked)]
                futures = self.batches.put(good) if good else []
            finally:
                self.batches.expect(-1)
            graded = iter(await self._answered(request, futures, until) if futures else ())
            results = [next(graded) if isinstance(it, Checked) else it for it in checked]
        refused = sum(isinstance(result, Problem) for result in results)
        self.metrics.graded.inc(len(results) - refused)
        self.metrics.refused.inc(refused)
        return results

    async def map(self, request: Request) -> Any:
        """Map the photograph of a request."""
        with Lease(self.held) as lease:
            upload = _only(await read_uploads(request, self.limits, lease))
            until = self._until()
            (checked,) = await self._all_checked(request, [upload], until, quality=False)
            if isinstance(checked, Problem):
                raise checked
            future = self.batches.put_alone(checked)
            (found,) = await self._answered(request, [future], until)
        if isinstance(found, Problem):
            raise found
        return found

    def _until(self) -> float:
        """When the answer to what has arrived now must be there, by the clock of the loop."""
        return asyncio.get_running_loop().time() + self.limits.answer_seconds

    async def _all_checked(
        self, request: Request, uploads: Sequence[Upload], until: float, *, quality: bool
    ) -> list[Checked | Problem]:
        """Check photographs; those that are being checked count as if they were in the queue."""
        self.batches.check_room(len(uploads), before=self._checking)
        self._checking += len(uploads)
        try:
            work = asyncio.gather(*(self._checked(upload, quality) for upload in uploads))
            return await self._in_time(request, work, until)
        finally:
            self._checking -= len(uploads)

    async def _checked(self, upload: Upload, quality: bool) -> Checked | Problem:
        limits = self.limits.of_images()

        def work() -> Checked | Problem:
            try:
                with opencv_in_our_threads():
                    return check(upload, limits, quality=quality)
            except Problem as problem:
                return problem
            except MemoryError:
                return no_memory(upload.name)
            except Exception as error:
                return mistake(error, upload.name)

        await self._free.acquire()
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._free.release()
            raise
        loop = asyncio.get_running_loop()

        def ended(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(self._free.release)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    async def _in_time(self, request: Request, work: Awaitable[T], until: float) -> T:
        """Wait for some work, as long as the client is there and the time has not run out."""
        try:
            async with asyncio.timeout_at(until):
                return await self._gone(request, work)
        except TimeoutError:
            raise Problem(
                503,
                "The model took too long",
                f"There was no answer within {self.limits.answer_seconds:g} s.",
                "Try again later, or send fewer photographs at a time; whoever runs the server can "
                "give fundus serve a longer --timeout.",
                retry_after=10,
            ) from None

    async def _answered(
        self, request: Request, futures: Sequence[Future[Any]], until: float
    ) -> list[Any]:
        try:
            work = asyncio.gather(*map(asyncio.wrap_future, futures))
            return await self._in_time(request, work, until)
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            if self.batches.ended:
                raise Problem(
                    503, "The server is ending", "It takes no more photographs.",
                    "Try again when it has started anew.", retry_after=10,
                ) from None  # fmt: skip
            raise

    async def _gone(self, request: Request, work: Awaitable[T]) -> T:
        """Wait for some work, or for the client to leave, which ends the work."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _only(uploads: Sequence[Upload]) -> Upload:
    if len(uploads) != 1:
        raise Problem(
            422,
            "There are several photographs",
            f"The request has {len(uploads)}, and this address takes one.",
            "Send them one by one, or together to /v1/grade/batch.",
        )
    return uploads[0]
