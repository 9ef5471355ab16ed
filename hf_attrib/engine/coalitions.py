"""The game of one answer, for those who play it with methods of their own, shapiq's for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hf_attrib.engine.answering import Answering
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.sharing import Sharing
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.methods import Occlusion
from hf_attrib.methods.perturbation.game import Game
from hf_attrib.model import isolated
from hf_attrib.results import Result
from hf_attrib.text import Requests

__all__ = ["CoalitionGame", "game_of"]

_R = TypeVar("_R")


class CoalitionGame:
    r"""F of subsets of the inputs of one answer, v_t(S), as a function of flags.

    A player is a group of inputs that can be taken away; v_t(S) is what target t comes to where the
    players S alone stay. Each subset is run once, and the model is checked at each call that runs
    any, as it may have changed.

    Args:
        answering: of the model.
        plan: what is asked, of one sequence.
        mode: how players are taken away, of :data:`hf_attrib.field.MODES`.

    Attributes:
        players: what the n players say, in the order of the flags.
        targets: what the T tokens, or spans of them, say that values are of.
        sequence: the prompt and the answer.
    """

    def __init__(self, answering: Answering, plan: Plan, mode: str) -> None:
        (case,) = plan.cases
        self._answering, self._plan, self._mode = answering, plan, mode
        self.sequence = case.sequence.bare()
        self.targets = tuple(case.sequence.response.piece(span) for span in case.targets)
        self._known: dict[bytes, Tensor] = {}
        playing = self._played(lambda game: game.players[0].tolist())
        self.players = tuple(case.inputs.piece(case.groups[group]) for group in playing)

    def __repr__(self) -> str:
        """Say how large the game is."""
        return f"<game of {len(self.players)} players for {len(self.targets)} targets>"

    @property
    def rows(self) -> int:
        """How many subsets were run so far."""
        return len(self._known)

    def __call__(self, coalitions: Any) -> NDArray[np.float64]:
        """Return v of subsets, [R, T] (units of f).

        Args:
            coalitions: who stays, flags [R, n] or [n].

        Raises:
            InputError: they are no flags of n players.
        """
        flags = np.atleast_2d(np.asarray(coalitions))
        count = len(self.players)
        if flags.ndim != 2 or flags.shape[1] != count or not np.isin(flags, (0, 1)).all():
            raise InputError(
                f"coalitions are of shape {np.shape(coalitions)}; expected flags [R, {count}], one "
                "for each player, true where it stays."
            )
        flags = flags.astype(bool)
        keys = [row.tobytes() for row in flags]
        new = dict(zip(keys, flags, strict=True))
        new = {key: row for key, row in new.items() if key not in self._known}
        if new:
            asked = torch.from_numpy(np.stack(list(new.values())))
            value = self._played(lambda game: game.values([asked])[0])
            self._known |= zip(new, value, strict=True)
        found = [self._known[key] for key in keys]
        return torch.stack(found).numpy() if found else np.zeros((0, len(self.targets)))

    def shapiq(self, row: int | None = None) -> Any:
        """Return the game of one target as a ``shapiq.Game`` (``pip install hf_attrib[shapiq]``).

        Its values are relative to v of nobody, as shapiq has them.

        Args:
            row: number of the target; by default their sum, which for log-probabilities is that of
                the whole answer.

        Raises:
            InputError: there is no such target.
        """
        import shapiq

        count, row = len(self.targets), plain_number(row)
        if row is not None and not (type(row) is int and -count <= row < count):
            raise InputError(f"row is {row!r:.80}; expected the number of one of {count} targets.")

        def value(coalitions: Any) -> NDArray[np.float64]:
            every = self(coalitions)
            found: NDArray[np.float64] = every.sum(1) if row is None else every[:, row]
            return found

        class _Shapiq(shapiq.Game):  # type: ignore[misc]
            """What approximators and explainers of shapiq take."""

            def value_function(self, coalitions: Any) -> NDArray[np.float64]:
                return value(coalitions)

        players = len(self.players)
        # Names must differ, and words come again.
        names = [f"{number} {piece.strip()}" for number, piece in enumerate(self.players)]
        return _Shapiq(
            n_players=players,
            normalize=True,
            normalization_value=float(value(np.zeros((1, players), dtype=bool))[0]),
            player_names=names,
        )

    def _played(self, use: Callable[[Game], _R]) -> _R:
        """Return what is found of the game, while the model is as it is explained."""
        engine, processes = self._answering.engine, self._answering.processes
        with processes.together(), isolated(engine.model):
            for ready in engine.each(self._plan, processes):
                with ready.attempt():
                    game = Game(ready.field, ready.seen.x, ready.reference(), self._mode)
                    found = use(game)
        return found


def game_of(answering: Answering, requests: Requests, given: Mapping[str, Any]) -> CoalitionGame:
    """Return the game of one answer, which is generated unless it came with the prompt.

    Args:
        answering: of the model.
        requests: one prompt.
        given: what ``explain`` takes by name but a method, and the ``mode`` of ablation.

    Raises:
        InputError: there are several prompts, or a method; or something given cannot be used.
    """
    if requests.many:
        raise InputError("a game is that of one answer; ask for one prompt at a time.")
    if "method" in given:
        raise InputError(
            "method was given, and a game is what methods play; give mode, groups and what else "
            "says who plays."
        )
    options = dict(given)
    mode = options.pop("mode", "embed")
    question, generation = Question.of({**options, "method": Occlusion(mode=mode)})

    plans: list[Plan] = []

    def work(plan: Plan, sharing: Sharing) -> Iterator[Result]:
        plans.append(plan)
        yield from ()

    answering.worked(requests, question, generation, work)
    return CoalitionGame(answering, plans[0], mode)
