"""Three replicas on fakes on which an interleaving runs, through all that can happen in random order: no answer breaks a rule."""

import pytest

from service.experiments.routing import Router
from tests.fakes import FakeRanker, loaded
from tests.unit.test_interleave import experiment, lowest_first
from tests.unit.test_replicas_together import Fleet


class Drafting(Fleet):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rankers["v2"] = loaded("v2", FakeRanker(lowest_first))
        self.router = Router("v1", [experiment()])


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_in_whatever_order_no_interleaved_answer_breaks_a_rule(seed: int) -> None:
    fleet = Drafting(seed)
    await fleet.storm()
    assert fleet.n_cached > 10
    assert fleet.n_ready == 0
    for shown in fleet.impressions.slates:
        assert shown.teams is not None
        assert len(shown.teams) == len(shown.candidate_ids)
