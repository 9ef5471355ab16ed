"""Work on several prompts: all are checked first, then answered, and no work is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hf_attrib.engine.engine import TOGETHER, Engine
from hf_attrib.engine.estimation import Estimate
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.record import warning_of
from hf_attrib.engine.sharing import Sharing
from hf_attrib.errors import (
    AttributionWarning,
    HFAttribError,
    InputError,
    ProcessError,
    keep,
    warn,
)
from hf_attrib.execution import ALONE, Processes
from hf_attrib.field import Cost
from hf_attrib.model import Transcriber, isolated
from hf_attrib.results import Attribution, Result
from hf_attrib.text import Request, Requests, Tokens, TokenSequence, settings_kept

__all__ = ["Answering", "Place"]

_R = TypeVar("_R", bound=Result)


@dataclass(frozen=True, eq=False)
class Answering:
    """Answers the requests of a call, and works on the answers.

    Args:
        engine: of the model.
        transcriber: writes prompts and answers down.
        processes: those that share the work.
    """

    engine: Engine
    transcriber: Transcriber
    processes: Processes

    def worked(
        self,
        requests: Requests,
        question: Question,
        generation: Mapping[str, Any],
        work: Callable[[Plan, Sharing], Iterator[_R]],
        *more: object,
    ) -> list[Any]:
        """Check all prompts, answer them, and return what work finds of the answers, in order.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
            work: yields the result of each case of a plan.
            *more: what else all processes must have been given alike.
        """
        sharing, done = Sharing(self.processes, len(requests.each)), list[Any]()
        # Generation too: dropout left on would write, and explain, another model's answer.
        with (
            _kept(done),
            self.processes.together(),
            isolated(self.engine.model),
            settings_kept(self.engine.tokenizer),
        ):
            self.processes.check_same(requests, question, generation, more)
            if requests.on_error == "return" and self.processes.count > 1:
                raise InputError(
                    f"on_error='return' came with {self.processes.count} processes, of which none "
                    "may fail alone; leave it out, or run one process."
                )
            if requests.on_error == "return":
                self._each_alone(requests, question, generation, work, sharing, done)
                return done
            answered = self._answered(requests, question, generation, sharing)
            plan = self._plan(requests, question, answered, sharing)
            if plan.cases:
                # What is no prompt's fault is said of none.
                self.engine.check_model(plan.cases[0].sequence, question)
            with self._blamed(requests, plan, work, sharing, done):
                for result in work(plan, sharing):
                    done.append(result)
            return sharing.joined(done)

    def _plan(
        self,
        requests: Requests,
        question: Question,
        answered: Sequence[TokenSequence],
        sharing: Sharing,
    ) -> Plan:
        """Settle what is asked of all answers; what cannot be is said of its prompt."""
        try:
            return self.engine.plan(question, answered)
        except InputError:
            places = sharing.own(range(len(requests.each)))
            for place, sequence in zip(places, answered, strict=True):
                with Place(requests, place):
                    self.engine.plan(question, [sequence])
            raise

    @contextmanager
    def _blamed(
        self,
        requests: Requests,
        plan: Plan,
        work: Callable[[Plan, Sharing], Iterator[_R]],
        sharing: Sharing,
        done: list[Any],
    ) -> Iterator[None]:
        """Say of an error that ends the work inside which prompt it came from.

        Where several ran together, they are run one by one to know.
        """
        places, failed = list(sharing.own(range(len(requests.each)))), None
        try:
            yield
            return
        except ProcessError:
            raise
        except Exception as error:
            failed = error
        first = len(done)
        suspects = places[first : first + TOGETHER] or places[-1:]
        try:
            if len(suspects) > 1 and isinstance(failed, HFAttribError) and sharing.of_rows is ALONE:
                for place in suspects:
                    with Place(requests, place):
                        done += work(plan.part(len(done), len(done) + 1), sharing)
                del done[first:]  # they fail together only
            with Place(requests, suspects[0], last=suspects[-1]):
                raise failed
        finally:
            del failed  # with what its frames hold

    def estimated(
        self,
        requests: Requests,
        question: Question,
        generation: Mapping[str, Any],
        further: Callable[[Tokens], tuple[Cost, Cost]],
    ) -> list[Estimate]:
        """Return what work on each request would cost; a few rows are run.

        Args:
            requests: prompts, with responses or without.
            question: what would be asked about each of them.
            generation: arguments of ``generate``.
            further: what is run for a prompt beyond what the question takes, least and most.
        """
        found: list[Any] = []
        with _kept(found), isolated(self.engine.model), settings_kept(self.engine.tokenizer):
            self._check(requests, question)
            for place, request in enumerate(requests.each):
                with Place(requests, place, found):
                    sequence = self._supposed(request, question, generation)
                    more, at_most = further(sequence.prompt), not request.answered
                    found.append(self.engine.estimate(question, sequence, at_most, more))
        return found

    def supposed(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> Plan:
        """Return what a question asks of prompts with the longest answers there could be.

        Answers that came with prompts are taken. The caller holds the model isolated.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
        """
        sequences = []
        for place, request in enumerate(requests.each):
            with Place(requests, place):
                sequences.append(self._supposed(request, question, generation))
        return self.engine.plan(question, sequences)

    def _supposed(
        self, request: Request, question: Question, generation: Mapping[str, Any]
    ) -> TokenSequence:
        tokens = self.transcriber.prompt(request)
        self.engine.check(question, [tokens])
        given = self.transcriber.given(tokens, request, generation)
        return given or self.transcriber.stand_in(tokens, request, generation)

    def one_by_one(self, requests: Requests, work: Callable[[Requests], Any]) -> list[Any]:
        """Return what work finds of each request alone, in order; no work is lost.

        Args:
            requests: prompts, with responses or without.
            work: returns what it finds of one request.
        """
        found: list[Any] = []
        with _kept(found):
            for place, request in enumerate(requests.each):
                with Place(requests, place, found):
                    found.append(work(Requests([request], many=False)))
        return found

    def planned(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> Plan:
        """Return what a question asks of prompts and their answers, on all processes alike.

        The caller holds the model isolated; all processes then share the rows of each prompt.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
        """
        alike = Sharing(self.processes, 1)
        return self.engine.plan(question, self._answered(requests, question, generation, alike))

    def warn(self, results: Sequence[Any]) -> None:
        """Warn of what readers of results must know; each warning holds them all.

        It is said when all is done, since a filter may make an error of a warning.

        Args:
            results: of a call; of those that are no attributions nothing is said here.
        """
        unsaid, self.engine.unsaid = self.engine.unsaid, []
        own = [warning_of(result) for result in results if isinstance(result, Attribution)]
        for message in (*unsaid, *filter(None, own)):
            warning = AttributionWarning(message)
            warning.results = results
            warn(warning)

    def _answered(
        self,
        requests: Requests,
        question: Question,
        generation: Mapping[str, Any],
        sharing: Sharing,
    ) -> list[TokenSequence]:
        """Return prompts with their answers; all are checked before the first one is generated."""
        checked = self._checked(requests, question, generation)
        sequences = []
        of_all = list(zip(checked, checked.values(), requests.each, strict=True))
        for place, (prompt, given), request in sharing.own(of_all):
            with Place(requests, place):
                sequences.append(given or self.transcriber.sequence(prompt, request, generation))
        return sharing.answered(sequences, self.transcriber)

    def _checked(
        self,
        requests: Requests,
        question: Question,
        generation: Mapping[str, Any],
        found: list[Any] | None = None,
    ) -> dict[int, tuple[Tokens, TokenSequence | None]]:
        """Return each prompt by its place, and its answer if that came with it; nothing runs.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
            found: where errors go instead of those prompts, if they are returned.
        """
        self._check(requests, question)
        checked: dict[int, tuple[Tokens, TokenSequence | None]] = {}
        for place, request in enumerate(requests.each):
            with Place(requests, place, found):
                prompt = self.transcriber.prompt(request)
                checked[place] = prompt, self.transcriber.given(prompt, request, generation)
        try:
            self.engine.check(question, [prompt for prompt, _ in checked.values()])
        except InputError as error:
            every = len(checked)
            for place, (prompt, _) in list(checked.items()):
                with Place(requests, place, found):
                    one = checked.pop(place)
                    self.engine.check(question, [prompt])
                    checked[place] = one
            if len(checked) == every:  # each would do, but not all of them together
                raise error from None
        return checked

    def _check(self, requests: Requests, question: Question) -> None:
        """Refuse what no prompt could mend."""
        self.engine.check(question, [])
        if requests.contrasted:
            question.check_fork()

    def _each_alone(
        self,
        requests: Requests,
        question: Question,
        generation: Mapping[str, Any],
        work: Callable[[Plan, Sharing], Iterator[_R]],
        sharing: Sharing,
        found: list[Any],
    ) -> None:
        """Find results, and in the place of those that cannot be had the errors that say why."""
        found += [None] * len(requests.each)
        checked = self._checked(requests, question, generation, found)
        plans: dict[int, Plan] = {}
        for place, (prompt, given) in checked.items():
            with Place(requests, place, found):
                request = requests.each[place]
                answer = given or self.transcriber.sequence(prompt, request, generation)
                plans[place] = self.engine.plan(question, [answer])
        places, alone = list(plans), False
        while places:
            part, done = places[:1] if alone else places, 0
            together = replace(plans[part[0]], cases=tuple(plans[p].cases[0] for p in part))
            with Place(requests, part[0], found) as at:
                for result in work(together, sharing):
                    found[part[done]] = result
                    done += 1
                    at.place = part[min(done, len(part) - 1)]
            failed = done < len(part)
            if failed and len(part) > 1:  # any of those that ran together may be to blame
                found[at.place], alone, places = None, True, places[done:]
            else:
                alone, places = alone and not failed, places[done + failed :]


@contextmanager
def _kept(done: list[Any]) -> Iterator[None]:
    """Hand what is done to the caller with any error that ends the context."""
    try:
        yield
    except BaseException as error:
        keep(error, done)
        raise


class Place:
    """A prompt of several that is worked on: what goes wrong inside says which one it was.

    Args:
        requests: all of them.
        place: of this one.
        found: where its error goes instead, if errors are returned.
        last: of those that may be meant, if it is not known which one it was.
    """

    def __init__(
        self,
        requests: Requests,
        place: int,
        found: list[Any] | None = None,
        last: int | None = None,
    ) -> None:
        self.requests = requests
        self.place = place
        self.found = found
        self.last = last

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        if self.requests.many and isinstance(error, HFAttribError):
            error.args = (f"{self._which()}: {error}", *error.args[1:])
        elif self.requests.many and hasattr(error, "add_note"):  # its message is its own
            with suppress(Exception):
                error.add_note(f"{self._which()}, explained by hf_attrib")
        if self.requests.on_error != "return" or self.found is None:
            return False
        keep(error, ())  # results stand beside it
        self.found[self.place : self.place + 1] = [error]
        return True

    def _which(self) -> str:
        """Name the prompt, or the first and the last that may be meant."""
        of, last = len(self.requests.each), self.place if self.last is None else self.last
        if last == self.place:
            return f"prompt {self.place + 1} of {of}"
        return f"one of prompts {self.place + 1} to {last + 1} of {of}"
