"""Questions to the slow sources, asked in threads of their own, so that nobody waits for them.

One daemon thread a source, started with its first question. Answers lie in a queue until the
registry takes them in. A source that hangs holds up only itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from msgspec import Struct

from cotenant.errors import CotenantError
from cotenant.tenants.facts import Facts, Question, Source


class Answer(Struct, frozen=True):
    """What a source said. By `key` (a question was asked) or by `id` (it spoke up by itself).

    `last` closes the question; `details` were asked for by `Desk.details`, so there is no more to
    be had; `error` is a sentence when it failed.
    """

    source: str
    key: int | None
    id: str | None
    facts: Facts | None
    last: bool = True
    details: bool = False
    error: str | None = None


class Desk:
    """Sends questions out, keeps count of those that are open, hands answers in."""

    def __init__(self) -> None:
        self._sources: tuple[Source, ...] = ()
        self._mail: SimpleQueue[Answer] = SimpleQueue()
        self._clerks: dict[str, _Clerk] = {}
        self._open: dict[int, set[str]] = {}
        self._questions: dict[int, Question] = {}
        self._since: dict[int, float] = {}
        self._heard: list[Answer] = []
        self.complaints: dict[str, str] = {}

    def open(self, sources: Sequence[Source]) -> None:
        """These are to be asked, the most believed first."""
        self._sources = tuple(sources)

    @property
    def mail(self) -> SimpleQueue[Answer]:
        """Where a source that speaks up by itself puts its news."""
        return self._mail

    def ask(self, question: Question) -> bool:
        """Ask everyone who may know; False when there is nobody to ask."""
        asked = [source for source in self._sources if source.knows(question)]
        for source in asked:
            self._clerk(source).inbox.put(question)
        if asked:
            self._questions[question.key] = question
            self._since[question.key] = time.monotonic()
            self._open.setdefault(question.key, set()).update(source.name for source in asked)
        return bool(asked)

    def details(self, question: Question, name: str) -> None:
        """Ask the source `name` for more about it; it comes when nobody waits for that source."""
        for source in self._sources:
            if source.name == name:
                self._clerk(source).later(question)

    def who(self, question: Question) -> list[str]:
        """Names of the sources that may know."""
        return [source.name for source in self._sources if source.knows(question)]

    def recall(self, question: Question) -> tuple[str, Facts] | None:
        """What a source has in memory, and which one."""
        for source in self._sources:
            facts = source.recall(question) if source.knows(question) else None
            if facts:
                return source.name, facts
        return None

    def answers(self) -> list[Answer]:
        """Everything that came in since the last call. Never blocks."""
        while True:
            try:
                self._hear(self._mail.get_nowait())
            except Empty:
                break
        heard, self._heard = self._heard, []
        return heard

    def wait(self, seconds: float) -> None:
        """Wait until every open question has its first answer, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self._open:
            try:
                self._hear(self._mail.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                return

    def hurry(self) -> None:
        """Take for every open question what can be told without its source."""
        for key, names in self._open.items():
            for source in self._sources:
                question = self._questions.get(key)
                facts = source.instead(question) if source.name in names and question else None
                if facts is not None:
                    answer = Answer(source.name, key, None, facts, last=False, details=True)
                    self._mail.put(answer)

    def waits_for(self, key: int) -> bool:
        """Whether someone still owes an answer about that tenant."""
        return key in self._open

    def forget(self, key: int) -> None:
        """The tenant is gone: nobody waits for what is said of it."""
        self._open.pop(key, None)
        self._questions.pop(key, None)
        self._since.pop(key, None)

    def silent(self, seconds: float = 0.25) -> dict[str, int]:
        """How many questions each source has left open for longer than `seconds`."""
        count: dict[str, int] = {}
        limit = time.monotonic() - seconds
        for key, names in self._open.items():
            for name in names if self._since[key] < limit else ():
                count[name] = count.get(name, 0) + 1
        return count

    def close(self) -> None:
        """Stop the threads; one that hangs in a source is left behind (it is a daemon)."""
        for source in self._sources:
            source.close()
        for clerk in self._clerks.values():
            clerk.inbox.put(None)
        self._open.clear()

    def _clerk(self, source: Source) -> _Clerk:
        clerk = self._clerks.get(source.name)
        if clerk is None:
            clerk = self._clerks[source.name] = _Clerk(source, self._mail)
        return clerk

    def _hear(self, answer: Answer) -> None:
        self._heard.append(answer)
        if answer.error:
            self.complaints[answer.source] = answer.error
        elif answer.last:
            self.complaints.pop(answer.source, None)
        if answer.key is None or not answer.last:
            return
        left = self._open.get(answer.key)
        if left is not None:
            left.discard(answer.source)
            if not left or (answer.facts is not None and answer.facts.name):
                self.forget(answer.key)


class _Clerk:
    """The thread that talks to one source: first answers first, details when nobody waits."""

    def __init__(self, source: Source, mail: SimpleQueue[Answer]) -> None:
        self.inbox: SimpleQueue[Question | None] = SimpleQueue()
        self._source = source
        self._mail = mail
        self._later: deque[Question] = deque()
        threading.Thread(target=self._work, name=f"names-{source.name}", daemon=True).start()

    def later(self, question: Question) -> None:
        """Find out more about it when there is nothing else to do."""
        self._later.append(question)
        self.inbox.put(_WAKE)

    def _work(self) -> None:
        while True:
            try:
                question = self.inbox.get(block=not self._later)
            except Empty:
                self._details(self._later.popleft())
                continue
            if question is None:
                return
            if question is not _WAKE:
                self._mail.put(self._ask(question))

    def _ask(self, question: Question) -> Answer:
        name = self._source.name
        try:
            return Answer(name, question.key, None, self._source.ask(question))
        except CotenantError as error:
            facts = self._source.instead(question)
            return Answer(name, question.key, None, facts, error=str(error))
        except Exception as error:  # a source's bug must not leave tenants waiting for ever
            sentence = f"Looking up names at {name} failed: {type(error).__name__}: {error}"
            return Answer(name, question.key, None, None, error=sentence)

    def _details(self, question: Question) -> None:
        try:
            facts = self._source.more(question)
        except Exception:  # details are extra: the first answer stands without them
            return
        if facts is not None:
            key = question.key
            self._mail.put(Answer(self._source.name, key, None, facts, last=False, details=True))


_WAKE = Question(0, None, "")
"""Put in an inbox to wake the clerk for its details."""
