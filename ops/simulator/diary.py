"""The record system as it lives on: who books, who comes, who drifts away, and the news it tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from domain.rules.vocabulary import AppointmentStatus, Segment
from ops.simulator.agenda import Agenda, Kind, next_slot
from ops.simulator.ehr import World
from ops.simulator.history import MEASURE, Appointment, Care, Story, booking_day, news_hour
from ops.simulator.news import News
from ops.simulator.people import Person

#: Chance that a lapsed patient comes back unasked within the year: about 20 % overall once no-shows are taken off.
RETURNS = {
    Segment.MONTHS_6_12: 0.24,
    Segment.MONTHS_12_24: 0.20,
    Segment.BEYOND_24: 0.14,
    Segment.NEVER_REBOOKED: 0.25,
    Segment.CHRONIC_OVERDUE: 0.20,
}
WALK_IN = 0.30
OUTCOMES = (
    (AppointmentStatus.FULFILLED, 0.85),
    (AppointmentStatus.NOSHOW, 0.08),
    (AppointmentStatus.CANCELLED, 0.07),
)
REBOOKS_AFTER_MISSING = 0.55
STOPS_COMING = 0.07
DIES = 0.003
CHANGES_PREFERENCE = 0.008


@dataclass(slots=True)
class _File:
    """How one patient stands with one service line, now."""

    care: Care
    last_visit: datetime
    ahead: Appointment | None
    missed_at: datetime | None
    gap_due_on: date | None
    number: int = 0
    """Appointments made so far in the story."""
    gap: int = 1
    is_closed: bool = False
    """The patient died."""


@dataclass(slots=True)
class Diary:
    """The living record system. `tell` takes its news; every action is planned on the agenda."""

    world: World
    agenda: Agenda
    now: Callable[[], datetime]
    tell: Callable[[News], None]
    counts: Counter[str] = field(default_factory=Counter)
    """What happened: booked, fulfilled, noshow, cancelled, deceased."""
    _files: dict[str, list[_File]] = field(default_factory=dict)

    def open(self) -> None:
        """Plan what will happen by itself."""
        for care in self.world.care:
            missed_at = care.missed.starts_at if care.missed else None
            file = _File(care, care.last_visit, care.ahead, missed_at, care.gap_due_on)
            file.is_closed = care.person.deceased_on is not None
            self._files.setdefault(care.person.key, []).append(file)
            if file.is_closed:
                continue
            if care.story is Story.LAPSED:
                self._plan_return(file, self.world.start)
            elif care.ahead is not None:
                self._plan_outcome(file, care.ahead)
            else:
                self._plan_next(file)
        for person in self.world.people:
            self._plan_life(person)

    def wants_back(self, person: Person) -> bool:
        """Whether an invitation finds this patient away and without an appointment."""
        return self._away(person) is not None

    def invite(self, person: Person, source: str) -> None:
        """The patient asked for an appointment just now; the desk makes it at its next slot."""
        at = next_slot(self.now() + timedelta(minutes=1))
        self.agenda.add(at, Kind.RECORDS, person.key, self._act(lambda: self._answer(person, source)))

    def _answer(self, person: Person, source: str) -> None:
        file = self._away(person)
        if file is not None:
            self.counts[f"booked_by_{source}"] += 1
            self._book_soon(file)

    def _away(self, person: Person) -> _File | None:
        return next((file for file in self._files.get(person.key, ()) if self._is_away(file)), None)

    def _is_away(self, file: _File) -> bool:
        if file.is_closed or file.ahead is not None:
            return False
        return file.missed_at is not None or self.now() >= file.last_visit + file.care.threshold

    def _plan(self, at: datetime, person: Person, happen: Callable[[], None]) -> None:
        if at < self.world.end:
            self.agenda.add(at, Kind.RECORDS, person.key, self._act(happen))

    def _act(self, happen: Callable[[], None]) -> Any:
        async def act() -> None:
            happen()

        return act

    def _plan_life(self, person: Person) -> None:
        draws, days = self.world.draws, (self.world.end - self.world.start).days
        if person.deceased_on is not None:
            return
        day = self.world.start + timedelta(days=draws.whole(5, max(5, days - 1), "life", person.key))
        if draws.happens(DIES, "dies", person.key):
            self._plan(news_hour(day.date()), person, lambda: self._die(person))
        elif draws.happens(CHANGES_PREFERENCE, "preference", person.key):
            self._plan(news_hour(day.date()), person, lambda: self._prefer(person))

    def _plan_return(self, file: _File, since: datetime) -> None:
        """Perhaps the patient comes back unasked, at any time of the year after `since`."""
        draws, care = self.world.draws, file.care
        segment = care.segment or Segment.MONTHS_12_24
        if not draws.happens(RETURNS[segment], "returns", care.key, file.number):
            return
        stretch = self.world.end - since if since == self.world.start else timedelta(days=365)
        at = news_hour((since + stretch * draws.fraction("returns when", care.key, file.number)).date())

        def come_back() -> None:
            if file.is_closed or file.ahead is not None or file.last_visit > since:
                return
            self.counts["came_back_unasked"] += 1
            if draws.happens(WALK_IN, "walks in", care.key, file.number):
                self._visit(file, self._new_appointment(file, self.now(), AppointmentStatus.FULFILLED))
            else:
                self._book_soon(file)

        self._plan(at, care.person, come_back)

    def _plan_next(self, file: _File) -> None:
        """The next routine visit, unless the patient stops coming here."""
        draws, care = self.world.draws, file.care
        if draws.happens(STOPS_COMING, "stops coming", care.key, file.number):
            self._plan_return(file, max(file.last_visit + care.threshold, self.world.start))
            return
        starts_at = news_hour((file.last_visit + care.interval).date())
        starts_at = max(starts_at, news_hour((self.now() + timedelta(days=3)).date()))
        booked_at = max(booking_day(draws, care.key, file.number + 1, starts_at), news_hour(self.now().date()))

        def book() -> None:
            if not file.is_closed and file.ahead is None:
                self._book(file, starts_at)

        self._plan(min(booked_at, starts_at - timedelta(days=1)), care.person, book)

    def _book_soon(self, file: _File) -> None:
        days = self.world.draws.whole(3, 20, "books for", file.care.key, file.number)
        self._book(file, news_hour((self.now() + timedelta(days=days)).date()))

    def _book(self, file: _File, starts_at: datetime) -> None:
        if file.is_closed or file.ahead is not None:
            return
        file.ahead = self._new_appointment(file, starts_at, AppointmentStatus.BOOKED)
        self._tell_appointment(file.care, file.ahead)
        self._plan_outcome(file, file.ahead)

    def _plan_outcome(self, file: _File, appointment: Appointment) -> None:
        draws, care = self.world.draws, file.care
        outcome = draws.weighted(OUTCOMES, "outcome", appointment.id)
        at = appointment.starts_at
        if outcome is AppointmentStatus.CANCELLED:
            at = max(at - timedelta(days=2), next_slot(self.now() + timedelta(hours=1)))

        def end() -> None:
            if file.is_closed or file.ahead is not appointment:
                return
            if outcome is AppointmentStatus.FULFILLED:
                self._visit(file, appointment)
            else:
                self._miss(file, appointment, outcome)

        self._plan(at, care.person, end)

    def _visit(self, file: _File, appointment: Appointment) -> None:
        file.ahead, file.missed_at, file.last_visit = None, None, self.now()
        self._tell_appointment(file.care, appointment, AppointmentStatus.FULFILLED)
        self._renew_gap(file)
        self._plan_next(file)

    def _miss(self, file: _File, appointment: Appointment, outcome: AppointmentStatus) -> None:
        file.ahead, file.missed_at = None, self.now()
        self._tell_appointment(file.care, appointment, outcome)
        draws, care = self.world.draws, file.care
        if draws.happens(REBOOKS_AFTER_MISSING, "rebooks", appointment.id):
            day = (self.now() + timedelta(days=draws.whole(7, 25, "rebooks when", appointment.id))).date()
            self._plan(news_hour(day), care.person, lambda: self._book_soon(file))
        else:
            self._plan_return(file, self.now() + timedelta(days=30))

    def _renew_gap(self, file: _File) -> None:
        """Where gaps have fixed dates, a visit closes one and opens the next; elsewhere they follow the visits."""
        if file.gap_due_on is None or not self._has_fixed_gaps(file.care.site):
            return
        now, person, due_on = self.now(), file.care.person, file.gap_due_on
        common = {
            "site": file.care.site,
            "mrn": person.mrn_at(file.care.site),
            "measure": MEASURE,
            "source": self.world.system,
        }
        gap_id = f"{file.care.key}-g{file.gap}"
        closed = {
            "gap_id": gap_id,
            "due_on": due_on.isoformat(),
            "closed_at": now.isoformat(),
            "version": _version(now),
        }
        self._tell(person, "caregap.closed", gap_id, {**common, **closed})
        file.gap += 1
        file.gap_due_on = now.date() + timedelta(days=365)
        gap_id = f"{file.care.key}-g{file.gap}"
        opened = {"gap_id": gap_id, "due_on": file.gap_due_on.isoformat(), "version": _version(now)}
        self._tell(person, "caregap.opened", gap_id, {**common, **opened})

    def _has_fixed_gaps(self, site_key: str) -> bool:
        return any(site.key == site_key and site.export == "csv" for site in self.world.sites)

    def _die(self, person: Person) -> None:
        for file in self._files.get(person.key, ()):
            file.is_closed = True
            if file.ahead is not None:
                self._tell_appointment(file.care, file.ahead, AppointmentStatus.CANCELLED)
                file.ahead = None
        self.counts["deceased"] += 1
        told = {"deceased_at": self.now().isoformat(), "version": _version(self.now())}
        for site, mrn in person.registrations:
            self._tell(person, "patient.deceased", f"{person.key}-{site}", {"site": site, "mrn": mrn, **told})

    def _prefer(self, person: Person) -> None:
        channel = self.world.draws.pick(("sms", "email"), "new preference", person.key)
        data = {"site": person.site, "mrn": person.mrn_at(person.site), "preferences": {"channel": channel}}
        self._tell(person, "patient.updated", person.key, {**data, "version": _version(self.now())})

    def _new_appointment(self, file: _File, starts_at: datetime, status: AppointmentStatus) -> Appointment:
        file.number += 1
        return Appointment(
            f"{file.care.key}-b{file.number}", file.care.line, file.care.site, starts_at, status, self.now()
        )

    def _tell_appointment(
        self, care: Care, appointment: Appointment, status: AppointmentStatus = AppointmentStatus.BOOKED
    ) -> None:
        self.counts[status] += 1
        data = {
            "site": appointment.site,
            "appointment_id": appointment.id,
            "source": self.world.system,
            "patient": {"site": appointment.site, "mrn": care.person.mrn_at(appointment.site)},
            "service_line": care.line.value,
            "starts_at": appointment.starts_at.isoformat(),
            "version": _version(self.now()),
        }
        self._tell(care.person, f"appointment.{status}", appointment.id, data)

    def _tell(self, person: Person, name: str, about: str, data: dict[str, Any]) -> None:
        self.tell(News(name, f"{about}-{name.partition('.')[2]}", self.now(), person.key, data))


def _version(at: datetime) -> int:
    """Versions are instants in microseconds, as in the export."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
