"""Everything an organisation hands to the importer: who it is, its FHIR export, its CSV export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ops.simulator import sites
from ops.simulator.ehr import SYSTEM, World, write_recipe
from ops.simulator.export_csv import write_csv
from ops.simulator.export_fhir import CARE_PLAN, CONDITIONS, ENTERPRISE, VISIT_CODES, organisation_id, write_fhir
from ops.simulator.history import MEASURE

ORGANISATION = "organisation.yaml"
FHIR = "export"
CSV = "export-csv"


def write_world(world: World, directory: Path) -> None:
    """Write organisation.yaml, export/ (FHIR), export-csv/ and the recipe from which the simulator makes the world."""
    write_recipe(world, directory)
    text = yaml.safe_dump(organisation(world), sort_keys=False, allow_unicode=True)
    (directory / ORGANISATION).write_text(text, encoding="utf-8")
    write_fhir(world, directory / FHIR)
    write_csv(world, directory / CSV)


def organisation(world: World) -> dict[str, Any]:
    """The organisation file: the organisation, its sites, and how its FHIR export is to be read."""
    by_fhir = [site for site in world.sites if site.export == "fhir"]
    return {
        "organisation": {
            "key": sites.ORGANISATION_KEY,
            "name": sites.ORGANISATION_NAME,
            "phone": sites.ORGANISATION_PHONE,
            "postal_address": sites.ORGANISATION_ADDRESS,
        },
        "sites": [
            {
                "key": site.key,
                "name": f"{sites.ORGANISATION_NAME} {site.name}",
                "zone": site.zone,
                "state": site.place.state,
                "booking_url": site.booking_url,
                "lines": dict.fromkeys(line.value for line in sites.ALL_LINES),
            }
            for site in world.sites
        ],
        "fhir": {
            "source": SYSTEM,
            "default_site": by_fhir[0].key,
            "sites": {organisation_id(site.key): site.key for site in by_fhir},
            "person_system": ENTERPRISE,
            "service_lines": {code: line.value for line, (code, _) in VISIT_CODES.items()},
            "care_gaps": [
                {
                    "codes": [code for code, _ in (*CONDITIONS, CARE_PLAN)],
                    "measure": MEASURE,
                    "due_every_months": 12,
                }
            ],
        },
    }
