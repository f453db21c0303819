"""Fairness: how a channel's next few seconds are shared among sites, so that none starves another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class DeficitRoundRobin:
    """Weighted deficit round robin (Shreedhar & Varghese 1995), one unit per touch.

    What a site was owed and did not get is carried to its next turn; a site with nothing to send is owed nothing.
    """

    deficits: dict[int, float] = field(default_factory=dict)

    def share(self, budget: int, backlog: Mapping[int, int], weights: Mapping[int, int]) -> dict[int, int]:
        """How many of each site's due touches to take, at most `budget` in all. Raises nothing, starves nobody."""
        waiting = {site: count for site, count in backlog.items() if count > 0}
        self.deficits = {site: owed for site, owed in self.deficits.items() if site in waiting}
        taken = dict.fromkeys(waiting, 0)
        left = budget
        while left > 0 and waiting:
            total = sum(weights.get(site, 1) for site in waiting)
            round_size = min(left, max(total, 1))
            for site in sorted(waiting, key=lambda site: (-self.deficits.get(site, 0.0), site)):
                owed = self.deficits.get(site, 0.0) + round_size * weights.get(site, 1) / total
                grant = min(int(owed + 1e-9), waiting[site], left)
                self.deficits[site] = owed - grant
                taken[site] += grant
                waiting[site] -= grant
                left -= grant
            waiting = {site: count for site, count in waiting.items() if count > 0}
        return taken
