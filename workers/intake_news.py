"""News in events: what publishers tell, as the contract has it, becomes the news that the ledger takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import cast

from pydantic import BaseModel

from domain.events.codec import Event
from domain.events.incoming import AppointmentData, DeathData, GapData, MergeData, PatientData, SlotsData
from domain.ledger.organisations import SiteFacts
from domain.ledger.slots import SlotNews, monday
from domain.ledger.vault import Vault
from domain.rules.news import AppointmentNews, Contact, GapNews, PatientNews, Registration, version_of
from domain.rules.vocabulary import AppointmentStatus


def patient_news(owner: int, event: Event) -> PatientNews:
    """What an event tells of a patient, a merge or a death."""
    match event.data:
        case MergeData() as merge:
            into = Registration(merge.into.site, merge.into.mrn)
            return PatientNews(owner, merge.site, merge.mrn, _version(merge), merged_into=into)
        case DeathData() as death:
            return PatientNews(
                owner, death.site, death.mrn, _version(death), deceased=True, deceased_at=death.deceased_at
            )
    data = cast("PatientData", event.data)
    points = data.contact_points
    return PatientNews(
        owner,
        data.site,
        data.mrn,
        _version(data),
        given_name=data.name.given if data.name else None,
        family_name=data.name.family if data.name else None,
        birth_date=data.birth_date,
        language=data.language,
        zone=data.address.zone if data.address else None,
        state=data.address.state if data.address else None,
        contacts=None if points is None else tuple(Contact(p.system, p.value, p.use, p.rank) for p in points),
        preferred_channel=data.preferences.channel if data.preferences else None,
        high_risk=data.high_risk,
        payer=data.payer,
        benefit_month=data.benefit_month,
    )


_STATUS = {
    "appointment.booked": AppointmentStatus.BOOKED,
    "appointment.rescheduled": AppointmentStatus.BOOKED,
    "appointment.cancelled": AppointmentStatus.CANCELLED,
    "appointment.noshow": AppointmentStatus.NOSHOW,
    "appointment.fulfilled": AppointmentStatus.FULFILLED,
}


def appointment_news(owner: int, event: Event) -> AppointmentNews:
    """What an event tells of an appointment."""
    data = cast("AppointmentData", event.data)
    return AppointmentNews(
        owner,
        data.source,
        data.appointment_id,
        _version(data),
        data.site,
        data.patient.mrn,
        data.service_line,
        _STATUS[event.kind.name],
        data.starts_at.astimezone(UTC),
        changed_at=data.changed_at or data.updated_at or event.time,
        patient_site=data.patient.site,
    )


def gap_news(vault: Vault, owner: int, event: Event, now: datetime) -> GapNews:
    """What an event tells of a measure somebody is due for, or not any more."""
    data = cast("GapData", event.data)
    closed = event.kind.name == "caregap.closed"
    return GapNews(
        owner,
        data.source,
        # a record number is never stored in clear
        data.gap_id or vault.reference("care_gap", data.site, data.mrn, data.measure),
        _version(data),
        data.site,
        data.mrn,
        data.measure,
        site=data.site,
        due_at=datetime.combine(data.due_on, time(), UTC),
        closed_at=(data.closed_at or data.updated_at or event.time or now) if closed else None,
    )


def slot_news(sites: Mapping[tuple[int, str], SiteFacts], owner: int, event: Event) -> list[SlotNews]:
    """What an event tells of the open slots of a site; nothing where the site is unknown."""
    data = cast("SlotsData", event.data)
    at = sites.get((owner, data.site))
    if at is None:
        return []
    return [
        SlotNews(at.id, each.service_line.value, monday(each.week), each.open, _version(data)) for each in data.slots
    ]


def _version(data: BaseModel) -> int:
    version: int | None = getattr(data, "version", None)
    if version is not None:
        return version
    updated_at: datetime = data.updated_at  # type: ignore[attr-defined] # the contract wants one of the two
    return version_of(updated_at)
