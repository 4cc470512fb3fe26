"""With whom a caller's rows may share a call of R is the policy's to say, and the scorer, which merges again, is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.core.policy import Coalesce, GrantRule, ModelRules, Policy
from shared.messages import ALONE
from tests.service.gateway_alone import FakePod, running
from tests.service.test_gateway_stages import SCORE, client


async def shares(folder: Path, coalesce: Coalesce) -> dict[str, set[str]]:
    """What the scorer was told, by caller: three calls each of two callers at once."""
    pod = FakePod(workers=1, takes_s=lambda *_: 0.02)
    policy = Policy(grants=(GrantRule(models=("*",), role="score"),), models={"*": ModelRules(coalesce=coalesce)})
    told = {}
    async with running(folder, pod, policy=policy) as gateway:
        for caller in ("ann", "bob"):
            pod.shares.clear()
            async with client(gateway.url, caller) as http:
                body = {"rows": [{"x": 1}]}
                answers = await asyncio.gather(*(http.post(SCORE, json=body) for _ in range(3)))
            assert [answer.status_code for answer in answers] == [200] * 3
            told[caller] = set(pod.shares)
    return told


async def test_where_all_callers_share_nothing_is_said(tmp_path: Path) -> None:
    assert await shares(tmp_path, "shared") == {"ann": {""}, "bob": {""}}


async def test_where_each_has_its_own_the_scorer_can_tell_them_apart_and_not_who_they_are(tmp_path: Path) -> None:
    told = await shares(tmp_path, "own")
    [ann], [bob] = told["ann"], told["bob"]
    assert ann != bob
    assert all(len(share) == 32 and name not in share for name, share in (("ann", ann), ("bob", bob)))


async def test_where_nothing_is_shared_the_scorer_is_told_so(tmp_path: Path) -> None:
    assert await shares(tmp_path, "off") == {"ann": {ALONE}, "bob": {ALONE}}
