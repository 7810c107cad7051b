"""Profiles on their way to servers: a thread and a queue for each, so that none holds up another.

    pushes = Pushes(settings.profile.push, node)
    pushes.offer(profile)          # never waits
    pushes.counts()                # per server: sent, waiting, refused, dropped
    pushes.close()

A profile is encoded by the thread of the server that it goes to. What a server is too busy for, or
does not answer, is tried again after pauses that double, give or take half, so that many agents do
not come back at once; meanwhile new profiles are taken in, and past `queue_bytes` the oldest go.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from cotenant.agent.log import ALWAYS
from cotenant.agent.push_http import Client, Outcome
from cotenant.agent.push_queue import Parcel, Queue
from cotenant.config.profile import PushTarget
from cotenant.export import otlp, pyroscope
from cotenant.export.parts import of_stacks
from cotenant.export.profile_families import PushRow
from cotenant.model import Profile

MOST_WAITING = 8
"""Profiles that wait to be encoded while a request is under way; past it, the oldest go."""
BATCH_BYTES = 1 << 20
BATCH_SERIES = 200
OLDEST_S = 3600.0
"""Pyroscope takes nothing older (validation: ingestion within an hour)."""
_TOO_MUCH = (400, 413, 422)
"""Answers that may be about one profile of several in a request."""
GOODBYE_S = 2.0

log = logging.getLogger("cotenant.agent")


class Pushes:
    """Sends profiles to servers, each from a thread of its own; `node` is this host's name."""

    def __init__(self, targets: Sequence[PushTarget], node: str) -> None:
        self._node = node
        self._senders: dict[str, _Sender] = {}
        self.configure(targets)

    def offer(self, profile: Profile) -> None:
        """There is a profile to send. Returns at once."""
        for sender in self._senders.values():
            sender.offer(profile)

    def configure(self, targets: Sequence[PushTarget]) -> None:
        """Other servers: what waits for one that stays as it was goes on waiting."""
        before, self._senders = self._senders, {}
        for target in targets:
            key = repr(target)  # a target holds tables, which cannot be keys
            kept = key in before
            self._senders[key] = before.pop(key) if kept else _Sender(target, self._node)
        for sender in before.values():
            sender.stop()

    def counts(self) -> list[PushRow]:
        """Per server, since it is configured as it is."""
        return [sender.counts() for sender in self._senders.values()]

    def close(self) -> None:
        """Ends the threads: the requests under way get a moment, what waits is given up."""
        senders = list(self._senders.values())
        for sender in senders:
            sender.stop()
        deadline = time.monotonic() + GOODBYE_S
        for sender in senders:
            sender.join(max(0.0, deadline - time.monotonic()))


class _Sender:
    """The thread of one server."""

    def __init__(self, target: PushTarget, node: str) -> None:
        self.target = target
        self._node = node
        self._wire = pyroscope if target.kind == "pyroscope" else otlp
        self._client = Client(
            target, self._wire.PATH, self._wire.CONTENT_TYPE, zipped=self._wire is otlp
        )
        self._queue = Queue(target.queue_bytes)
        self._inbox: deque[Profile] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._sent = self._refused = self._gave_up = self._dropped = 0
        self._retries = self._sent_bytes = self._cut = self._tries = 0
        self._not_before = 0.0
        self._last_words: tuple[int, str] | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"push-{target.title}"[:15], daemon=True
        )
        self._thread.start()

    # --- from other threads

    def offer(self, profile: Profile) -> None:
        with self._wake:
            self._inbox.append(profile)
            while len(self._inbox) > MOST_WAITING:
                self._dropped += _met(self._inbox.popleft())
            self._wake.notify()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def counts(self) -> PushRow:
        return PushRow(
            target=self.target.title,
            sent=self._sent,
            refused=self._refused,
            gave_up=self._gave_up,
            dropped=self._dropped + self._queue.dropped,
            retries=self._retries,
            sent_bytes=self._sent_bytes,
            queue_bytes=self._queue.bytes,
            queued=len(self._queue),
            cut=self._cut,
        )

    # --- in its own thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stopping and not self._inbox and self._pause() > 0:
                    self._wake.wait(None if not len(self._queue) else self._pause())
                if self._stopping:
                    break
                profile = self._inbox.popleft() if self._inbox else None
            try:
                if profile is not None:
                    self._take_in(profile)
                elif self._pause() <= 0:
                    self._send()
            except Exception:
                log.exception("push: a fault in sending to %s", self.target.title)
                self._not_before = time.monotonic() + self.target.max_backoff_s
        self._client.close()

    def _pause(self) -> float:
        """Seconds until there is something to send; endless where nothing waits."""
        return self._not_before - time.monotonic() if len(self._queue) else float("inf")

    def _take_in(self, profile: Profile) -> None:
        wanted = chosen(profile, self.target.tenants, self.target.types)
        if wanted is None:
            return
        found = self._wire.render(
            wanted, self._node, self.target.service_name, self.target.external_labels
        )
        self._cut += found.cut + found.left_out
        now = time.monotonic()
        for series in found.series:
            self._queue.add(Parcel(series.body, now))

    def _send(self) -> None:
        self._gave_up += self._queue.forget(time.monotonic() - OLDEST_S)
        most = BATCH_SERIES if self._wire is pyroscope else 1
        batch = self._queue.first(BATCH_BYTES, most)
        if not batch:
            return
        found = self._client.post(b"".join([one.body for one in batch]))
        if found.again:
            self._put_off(len(batch), found)
            return
        self._tries, self._not_before = 0, 0.0
        self._queue.remove(len(batch))
        if found.refused == -1 and found.status in _TOO_MUCH and len(batch) > 1:
            self._one_by_one(batch)
        else:
            self._done(batch, found)

    def _one_by_one(self, batch: Iterable[Parcel]) -> None:
        """The server refused them together: each alone, so that one does not cost the others."""
        for parcel in batch:
            found = self._client.post(parcel.body)
            if found.again:
                self._queue.add(parcel)
            else:
                self._done([parcel], found)

    def _done(self, batch: Sequence[Parcel], found: Outcome) -> None:
        refused = len(batch) if found.refused == -1 else min(found.refused, len(batch))
        self._refused += refused
        self._sent += len(batch) - refused
        if refused < len(batch):
            self._sent_bytes += sum(len(one.body) for one in batch)
        if refused:
            self._say_once(found, "push: %s refuses profiles: %s")
        elif self._last_words is not None:
            self._last_words = None
            log.info("push: %s takes profiles again", self.target.title, extra=ALWAYS)

    def _put_off(self, count: int, found: Outcome) -> None:
        longest = self.target.max_backoff_s
        pause = min(longest, self.target.min_backoff_s * 2 ** min(self._tries, 30))
        pause = max(pause * random.uniform(0.5, 1.5), min(found.pause_s, longest))
        self._not_before = time.monotonic() + pause
        if self._tries < self.target.max_retries:
            self._tries += 1
            self._retries += 1
        else:
            self._queue.remove(count)
            self._gave_up += count
            self._tries = 0
        self._say_once(found, "push: %s does not take profiles now: %s")

    def _say_once(self, found: Outcome, form: str) -> None:
        """The server's reason, unless it said the same before."""
        words = (found.status, found.why)
        if words != self._last_words:
            self._last_words = words
            log.warning(form, self.target.title, found.why, extra=ALWAYS)


def chosen(profile: Profile, tenants: Sequence[str], types: Sequence[str]) -> Profile | None:
    """What of a profile is for a server that wants these tenants and types only; None: nothing."""
    if types and not any(fnmatchcase(profile.type, one) for one in types):
        return None
    if not tenants:
        return profile if profile.stacks else None
    wanted = {
        number
        for number, tenant in enumerate(profile.tenants)
        if any(fnmatchcase(tenant.name, one) for one in tenants)
    }
    stacks = [stack for stack in profile.stacks if stack.tenant in wanted]
    return of_stacks(profile, stacks) if stacks else None


def _met(profile: Profile) -> int:
    """How many tenants were met in it."""
    return len({stack.tenant for stack in profile.stacks})
