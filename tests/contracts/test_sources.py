"""The built-in candidate sources keep the contract that third parties are held to, and are found by entry point."""

from amity_rankers.testing import SourceContract

from service.candidates.admirers import Admirers
from service.candidates.explore import Explore
from service.candidates.mutual_taste import MutualTaste
from service.candidates.newcomers import Newcomers
from service.candidates.similar_people import SimilarPeople
from service.plugins import load_sources
from service.settings import Settings


class TestMutualTaste(SourceContract):
    source = MutualTaste


class TestSimilarPeople(SourceContract):
    source = SimilarPeople


class TestAdmirers(SourceContract):
    source = Admirers


class TestNewcomers(SourceContract):
    source = Newcomers


class TestExplore(SourceContract):
    source = Explore


def test_all_five_are_installed_and_usable() -> None:
    installed = load_sources(Settings())
    assert installed.problems == ()
    assert set(installed.by_name) >= {"mutual_taste", "similar_people", "admirers", "newcomers", "explore"}
