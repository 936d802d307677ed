"""One connection to a policy: which protocol it speaks, and what a robot shall do.

Takes a client's messages, hands on what to answer. Between messages it remembers only what belongs to an
episode: how many steps it is old, the instruction, and, where actions are chosen on this side, the chunks
they are chosen from. The surprise: clients of vla-eval run one action an answer, so for them the choice is
always made here, by the ensemble that suits the data set unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import numpy as np

from stair.errors import StairError
from stair.policy import native
from stair.policy.chunks import AdaptiveEnsemble, BinaryGripper, ChunkPlayer, Control
from stair.policy.contract import PolicySpec, Query
from stair.policy.dialects import asked_by, find_dialect, greeting
from stair.policy.talk import Chunks, Defaults, Dialect, Message, Request
from stair.policy.wire import pack, unpack
from stair.serve.batching import Batcher
from stair.serve.config import ServeConfig

log = logging.getLogger(__name__)


def served_spec(spec: PolicySpec, config: ServeConfig) -> PolicySpec:
    """The handshake of a server in this mode: what its answers are."""
    if config.mode == "policy":
        return spec
    if config.ensemble:
        return replace(spec, control="ensembled", chunk=1)
    return replace(spec, control="executed", chunk=min(config.execute, spec.chunk))


class Session:
    """What is known about one client. Used by one coroutine at a time."""

    def __init__(self, batcher: Batcher, config: ServeConfig) -> None:
        self.batcher, self.config = batcher, config
        self.spec = served_spec(batcher.policy.spec, config)
        self.dialect: Dialect = native if config.speaks == "auto" else find_dialect(config.speaks)
        self._control: Control | None = None
        self._gripper = BinaryGripper()
        self._instruction = ""
        self._step = 0

    def greeting(self) -> bytes:
        """What the client hears first."""
        return self._packed(greeting(self.spec, self.config.speaks))

    async def answer(self, data: bytes | str) -> bytes | str | None:
        """What to say to a message; None: nothing. Whatever comes, this does not raise."""
        message: Message = {}
        try:
            heard = unpack(data)
            self.dialect = asked_by(heard, self.config.speaks)
            message = heard
            return await self._serve(message)
        except StairError as error:
            refusal = self.dialect.write_refusal(message, error.what, error.hint)
        except Exception as error:
            log.exception("the policy failed")
            what = f"the policy failed: {error!r}"
            refusal = self.dialect.write_refusal(message, what, "see the server's log")
        return refusal if isinstance(refusal, str) else self._packed(refusal)

    async def _serve(self, message: Message) -> bytes | None:
        request = self.dialect.read_request(message, self._defaults())
        if request.reset or (request.queries and request.queries[0].instruction != self._instruction):
            self._forget()
            request = self.dialect.read_request(message, self._defaults())  # with a first step's seed
        if not request.queries:
            return None if request.reply is None else self._packed(request.reply)
        self._instruction = request.queries[0].instruction
        if request.one_action or self.config.mode == "robot":
            chunks = await self._choose(request)
        else:
            chunks = await self._ask(request.queries)
        self._step += 1
        return self._packed(self.dialect.write_answer(request, chunks))

    async def _ask(self, queries: tuple[Query, ...]) -> Chunks:
        """The model's own chunks."""
        if len(queries) == 1:  # almost always: no task of its own for it
            answers = [await self.batcher.ask(queries[0], self)]
        else:
            answers = await asyncio.gather(*(self.batcher.ask(query, self) for query in queries))
        slowest = max(answers, key=lambda one: one.server_ms)
        return Chunks([one.actions for one in answers], slowest.server_ms, slowest.batch)

    def _defaults(self) -> Defaults:
        config = self.config
        seed = config.seed + self._step
        return Defaults(self.spec, config.unnorm_key, seed, config.image_key, config.prompt_key)

    async def _choose(self, request: Request) -> Chunks:
        """What the robot shall do now, as a chunk of one action or of those to run."""
        query, *others = request.queries
        if others:
            raise StairError(
                "one robot asks one question at a time", hint="send one example, or --mode policy"
            )
        asked = Chunks([], 0.0, 0)
        if self.config.execute and not request.one_action:
            asked = await self._ask((query,))
            chosen = np.array(asked.actions[0][: self.config.execute])
        else:
            self._control = self._control or self._make_control(query)
            if self._control.needs_query():
                asked = await self._ask((query,))
                self._control.add(asked.actions[0])
            chosen = self._control.next_action()[None].astype(np.float32)
        if self.config.mode == "robot":
            chosen[:, 6] = [self._gripper(float(opening)) for opening in chosen[:, 6]]
        return replace(asked, actions=[chosen])

    def _make_control(self, query: Query) -> Control:
        if self.config.execute:
            return ChunkPlayer(self.config.execute)
        horizon = self.config.ensemble or self.spec.ensemble_horizons.get(query.unnorm_key, 2)
        return AdaptiveEnsemble(horizon, self.config.ensemble_alpha)

    def _forget(self) -> None:
        """An episode begins, or another instruction."""
        self._control, self._instruction, self._step = None, "", 0

    def _packed(self, message: Message) -> bytes:
        return pack(message, word_keys=self.dialect.WORD_KEYS)
