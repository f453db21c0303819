"""The page of odd patients tells what the ledger and the senders do today."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odd_patients import STORIES, Stage
from sqlalchemy import Engine

from domain.ledger.audit import audit, breaches
from domain.ledger.store import reading
from domain.ledger.vault import Vault

PAGE = Path(__file__).parents[2] / "docs/odd-patients.md"
#: Set, the page is written anew instead of compared.
RENEW = "REACTIVATE_TEST_RENEW_PAGES"

Story = Callable[[Stage], int]


@pytest.fixture
def stage(ledger: Engine, vault: Vault) -> Iterator[Stage]:
    found = Stage(ledger, vault)
    yield found
    found.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_page_tells_what_explain_says_of_an_odd_patient_and_every_promise_is_kept(
    stage: Stage, story: Story
) -> None:
    told = stage.told(story(stage))

    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get(RENEW):
        PAGE.write_text(_with(page, story, told), encoding="utf-8")
    assert os.environ.get(RENEW) or _with(page, story, told) == page, (
        f"set {RENEW}=1 and run this test to write it anew"
    )
    with reading(stage.health.engine) as conn:
        assert breaches(audit(conn, stage.clock.at)) == 0


def _with(page: str, story: Story, told: str) -> str:
    """The page with this story's chapter as it is now."""
    nth = STORIES.index(story) + 1
    title = f"## {nth}. Who {story.__name__.replace('_', ' ')}\n"
    before, _, rest = page.partition(title)
    following = rest.find("\n## ")
    after = rest[following:] if following >= 0 else ""
    return f"{before}{title}\n{inspect.getdoc(story)}\n\n{textwrap.indent(told, '    ').rstrip()}\n{after}"
