"""The whole ledger, as it first was: every table, and the partial indexes that keep hot queries small."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
kind = "expand"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.DateTime(timezone=True)


def _where(condition: str) -> dict[str, Any]:
    """The same partial index on both stores."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "listener",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("is_behind", sa.Boolean(), nullable=False),
        sa.Column("beat_at", Instant, nullable=False),
        sa.Column("silent_since", Instant, nullable=True),
        sa.Column("closed_at", Instant, nullable=True),
        sa.Column("forgotten_at", Instant, nullable=True),
        sa.Column("forgotten_by", sa.String(length=256), nullable=True),
        sa.Column("why", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listener")),
    )
    op.create_table(
        "schema_step",
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("needs", sa.String(length=32), nullable=True),
        sa.Column("at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_step")),
    )
    op.create_table(
        "channel_pause",
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_channel_pause")),
    )
    op.create_table(
        "event_seen",
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source", "event_id", name=op.f("pk_event_seen")),
    )
    op.create_table(
        "heartbeat",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("round", Id, nullable=False),
        sa.Column("did", sa.Integer(), nullable=False),
        sa.Column("next_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_heartbeat")),
    )
    op.create_table(
        "reconciliation",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("sent_after", sa.Integer(), nullable=False),
        sa.Column("overtaken", sa.Integer(), nullable=False),
        sa.Column("ours_alone", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation")),
    )
    op.create_index("ix_reconciliation_source", "reconciliation", ["source", "id"])
    op.create_table(
        "organisation",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.Column("postal_address", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisation")),
        sa.UniqueConstraint("key", name=op.f("uq_organisation_key")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("published_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_event_id")),
    )
    op.create_index("ix_outbox_unpublished", "outbox", ["id"], **_where("published_at IS NULL"))
    op.create_table(
        "quarantine",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("settled_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_index("ix_quarantine_held", "quarantine", ["id"], **_where("state = 'held'"))
    op.create_table(
        "receipt",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("provider_ref", sa.String(length=128), nullable=False),
        sa.Column("reference", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("effect", sa.String(length=16), nullable=True),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("applied_at", Instant, nullable=True),
        sa.Column("result", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
        sa.UniqueConstraint("channel", "provider_ref", "status", name=op.f("uq_receipt_channel_provider_ref_status")),
    )
    op.create_index("ix_receipt_unapplied", "receipt", ["received_at"], **_where("applied_at IS NULL"))
    op.create_table(
        "campaign",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("holdout", sa.Float(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("blackout", sa.String(length=2000), nullable=True),
        sa.Column("daily_touches", sa.Integer(), nullable=True),
        sa.Column("bookings_per_touch", sa.Float(), nullable=True),
        sa.Column("terms", sa.Text(), nullable=True),
        sa.Column("paused_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_campaign_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("organisation_id", "key", "version", name=op.f("uq_campaign_organisation_id_key_version")),
    )
    op.create_index(
        "uq_campaign_running", "campaign", ["organisation_id", "key"], unique=True, **_where("ended_at IS NULL")
    )
    op.create_table(
        "campaign_event",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("campaign_key", sa.String(length=64), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=True),
        sa.Column("enrolments", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_campaign_event_organisation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_event")),
    )
    op.create_index("ix_campaign_event_campaign", "campaign_event", ["organisation_id", "campaign_key"])
    op.create_table(
        "contact_point",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("system", sa.String(length=16), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("value_index", sa.LargeBinary(), nullable=False),
        sa.Column("quality", sa.String(length=16), nullable=False),
        sa.Column("zones", sa.String(length=2000), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_contact_point_organisation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_point")),
        sa.UniqueConstraint(
            "organisation_id", "system", "value_index", name=op.f("uq_contact_point_organisation_id_system_value_index")
        ),
    )
    op.create_table(
        "import_file",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("lines_done", Id, nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("stale", sa.Integer(), nullable=False),
        sa.Column("ignored", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_import_file_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_file")),
        sa.UniqueConstraint(
            "organisation_id", "checksum", "kind", name=op.f("uq_import_file_organisation_id_checksum_kind")
        ),
    )
    op.create_table(
        "site",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=True),
        sa.Column("booking_url", sa.String(length=300), nullable=True),
        sa.Column("capacity_per_day", sa.Integer(), nullable=False),
        sa.Column("daily_touches", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_site_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("organisation_id", "key", name=op.f("uq_site_organisation_id_key")),
    )
    op.create_table(
        "open_slots",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("told_at", Instant, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_open_slots_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_open_slots")),
        sa.UniqueConstraint("site_id", "service_line", "week", name=op.f("uq_open_slots_site_id_service_line_week")),
    )
    op.create_table(
        "consent",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("contact_point_id", Id, nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.ForeignKeyConstraint(["contact_point_id"], ["contact_point.id"], name=op.f("fk_consent_contact_point_id")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_consent_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
        sa.UniqueConstraint(
            "contact_point_id", "channel", "purpose", name=op.f("uq_consent_contact_point_id_channel_purpose")
        ),
    )
    op.create_table(
        "import_reject",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("import_file_id", Id, nullable=False),
        sa.Column("line", Id, nullable=False),
        sa.Column("field", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(["import_file_id"], ["import_file.id"], name=op.f("fk_import_reject_import_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_reject")),
        sa.UniqueConstraint("import_file_id", "line", "field", name=op.f("uq_import_reject_import_file_id_line_field")),
    )
    op.create_index(op.f("ix_import_reject_import_file_id"), "import_reject", ["import_file_id"])
    op.create_table(
        "patient",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("ref", sa.String(length=24), nullable=False),
        sa.Column("home_site_id", Id, nullable=False),
        sa.Column("given_name", sa.LargeBinary(), nullable=True),
        sa.Column("family_name", sa.LargeBinary(), nullable=True),
        sa.Column("birth_date", sa.LargeBinary(), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=True),
        sa.Column("preferred_channel", sa.String(length=16), nullable=True),
        sa.Column("high_risk", sa.Boolean(), nullable=False),
        sa.Column("payer", sa.String(length=16), nullable=True),
        sa.Column("benefit_month", sa.Integer(), nullable=True),
        sa.Column("deceased_at", Instant, nullable=True),
        sa.Column("merged_into_id", Id, nullable=True),
        sa.Column("person_index", sa.LargeBinary(), nullable=True),
        sa.Column("version", Id, nullable=False),
        sa.ForeignKeyConstraint(["home_site_id"], ["site.id"], name=op.f("fk_patient_home_site_id")),
        sa.ForeignKeyConstraint(["merged_into_id"], ["patient.id"], name=op.f("fk_patient_merged_into_id")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_patient_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient")),
        sa.UniqueConstraint("organisation_id", "person_index", name=op.f("uq_patient_organisation_id_person_index")),
        sa.UniqueConstraint("ref", name=op.f("uq_patient_ref")),
    )
    op.create_index("ix_patient_merged_into_id", "patient", ["merged_into_id"])
    op.create_table(
        "reply",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("provider_id", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=True),
        sa.Column("contact_point_id", Id, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("intent", sa.String(length=24), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("rule", sa.String(length=48), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("handled_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["contact_point_id"], ["contact_point.id"], name=op.f("fk_reply_contact_point_id")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_reply_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply")),
        sa.UniqueConstraint("channel", "provider_id", name=op.f("uq_reply_channel_provider_id")),
    )
    op.create_index("ix_reply_contact_point_id", "reply", ["contact_point_id"])
    op.create_index("ix_reply_human", "reply", ["received_at"], **_where("state = 'human'"))
    op.create_index("ix_reply_new", "reply", ["received_at"], **_where("state = 'new'"))
    op.create_table(
        "site_line",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("threshold_months", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_site_line_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_line")),
        sa.UniqueConstraint("site_id", "service_line", name=op.f("uq_site_line_site_id_service_line")),
    )
    op.create_table(
        "step",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("offset_days", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_step_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint("campaign_id", "ordinal", name=op.f("uq_step_campaign_id_ordinal")),
    )
    op.create_table(
        "template_version",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("key", sa.String(length=96), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("released_at", Instant, nullable=True),
        sa.Column("recalled_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_template_version_organisation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template_version")),
        sa.UniqueConstraint(
            "organisation_id", "key", "version", name=op.f("uq_template_version_organisation_id_key_version")
        ),
    )
    op.create_table(
        "campaign_template",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("template_version_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_template_campaign_id")),
        sa.ForeignKeyConstraint(
            ["template_version_id"], ["template_version.id"], name=op.f("fk_campaign_template_template_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_template")),
        sa.UniqueConstraint(
            "campaign_id", "template_version_id", name=op.f("uq_campaign_template_campaign_id_template_version_id")
        ),
    )
    op.create_index(op.f("ix_campaign_template_template_version_id"), "campaign_template", ["template_version_id"])
    op.create_table(
        "template",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("template_version_id", Id, nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("segment", sa.String(length=32), nullable=False),
        sa.Column("step_kind", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("season", sa.String(length=64), nullable=False),
        sa.Column("incentive", sa.String(length=64), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_version_id"], ["template_version.id"], name=op.f("fk_template_template_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template")),
        sa.UniqueConstraint(
            "template_version_id",
            "channel",
            "language",
            "segment",
            "step_kind",
            "step",
            "season",
            "incentive",
            name="uq_template_slot",
        ),
    )
    op.create_table(
        "template_event",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("template_version_id", Id, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=True),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("lexicon", sa.String(length=16), nullable=True),
        sa.Column("stopped", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["template_version_id"], ["template_version.id"], name=op.f("fk_template_event_template_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template_event")),
    )
    op.create_index(op.f("ix_template_event_template_version_id"), "template_event", ["template_version_id"])
    op.create_table(
        "appointment",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.String(length=128), nullable=False),
        sa.Column("version", Id, nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("starts_at", Instant, nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_appointment_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_appointment_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_appointment_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointment")),
        sa.UniqueConstraint(
            "organisation_id", "source", "source_id", name=op.f("uq_appointment_organisation_id_source_source_id")
        ),
    )
    op.create_index("ix_appointment_patient", "appointment", ["patient_id", "service_line", "starts_at"])
    op.create_table(
        "care",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("last_visit_at", Instant, nullable=True),
        sa.Column("next_appointment_at", Instant, nullable=True),
        sa.Column("missed_at", Instant, nullable=True),
        sa.Column("gap_due_at", Instant, nullable=True),
        sa.Column("scan_at", Instant, nullable=True),
        sa.Column("noticed_segment", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_care_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_care_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_care")),
        sa.UniqueConstraint("patient_id", "service_line", name=op.f("uq_care_patient_id_service_line")),
    )
    op.create_index("ix_care_scan_at", "care", ["scan_at"], **_where("scan_at IS NOT NULL"))
    op.create_table(
        "care_gap",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.String(length=128), nullable=False),
        sa.Column("measure", sa.String(length=64), nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("every_months", sa.Integer(), nullable=True),
        sa.Column("since", Instant, nullable=True),
        sa.Column("closed_at", Instant, nullable=True),
        sa.Column("version", Id, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_care_gap_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_care_gap_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_care_gap_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_care_gap")),
        sa.UniqueConstraint(
            "organisation_id", "source", "source_id", name=op.f("uq_care_gap_organisation_id_source_source_id")
        ),
    )
    op.create_index("ix_care_gap_patient", "care_gap", ["patient_id"])
    op.create_table(
        "choice_event",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("contact_point_id", Id, nullable=True),
        sa.Column("patient_id", Id, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("channel", sa.String(length=16), nullable=True),
        sa.Column("purpose", sa.String(length=32), nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("reply_id", Id, nullable=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("noted_by", sa.String(length=256), nullable=True),
        sa.Column("why", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_point_id"], ["contact_point.id"], name=op.f("fk_choice_event_contact_point_id")
        ),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_choice_event_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_choice_event_patient_id")),
        sa.ForeignKeyConstraint(["reply_id"], ["reply.id"], name=op.f("fk_choice_event_reply_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_choice_event")),
    )
    op.create_index("ix_choice_event_contact_point_id", "choice_event", ["contact_point_id"])
    op.create_index("ix_choice_event_patient_id", "choice_event", ["patient_id"])
    op.create_table(
        "disclosure",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("who", sa.String(length=256), nullable=False),
        sa.Column("account", sa.String(length=256), nullable=False),
        sa.Column("why", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_disclosure_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosure")),
    )
    op.create_table(
        "lapse",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("segment", sa.String(length=32), nullable=False),
        sa.Column("inactive_since", Instant, nullable=False),
        sa.Column("last_visit_at", Instant, nullable=True),
        sa.Column("rule_version", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("detected_at", Instant, nullable=False),
        sa.Column("segment_at", Instant, nullable=False),
        sa.Column("decided_at", Instant, nullable=True),
        sa.Column("declined", sa.String(length=32), nullable=True),
        sa.Column("closed_at", Instant, nullable=True),
        sa.Column("closed_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_lapse_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_lapse_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_lapse_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lapse")),
    )
    op.create_index("ix_lapse_unreachable", "lapse", ["id"], **_where("declined = 'unreachable' AND closed_at IS NULL"))
    op.create_index(
        "ix_lapse_waiting",
        "lapse",
        ["site_id", "priority", "id"],
        **_where("declined IN ('daily_limit', 'no_open_slots', 'open_slots_unknown') AND closed_at IS NULL"),
    )
    op.create_index(
        "ix_lapse_out_of_season",
        "lapse",
        ["organisation_id", "priority", "id"],
        **_where("declined = 'out_of_season' AND closed_at IS NULL"),
    )
    op.create_index("ix_lapse_undecided", "lapse", ["detected_at"], **_where("decided_at IS NULL"))
    op.create_index(
        "uq_lapse_open", "lapse", ["patient_id", "service_line"], unique=True, **_where("closed_at IS NULL")
    )
    op.create_table(
        "patient_contact",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("contact_point_id", Id, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("use", sa.String(length=16), nullable=True),
        sa.Column("detached_at", Instant, nullable=True),
        sa.Column("confidential_since", Instant, nullable=True),
        sa.Column("since", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_point_id"], ["contact_point.id"], name=op.f("fk_patient_contact_contact_point_id")
        ),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_patient_contact_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_contact")),
        sa.UniqueConstraint(
            "patient_id", "contact_point_id", name=op.f("uq_patient_contact_patient_id_contact_point_id")
        ),
    )
    op.create_index("ix_patient_contact_contact_point_id", "patient_contact", ["contact_point_id"])
    op.create_table(
        "registration",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("mrn", sa.LargeBinary(), nullable=False),
        sa.Column("mrn_index", sa.LargeBinary(), nullable=False),
        sa.Column("version", Id, nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_registration_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_registration_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration")),
        sa.UniqueConstraint("site_id", "mrn_index", name=op.f("uq_registration_site_id_mrn_index")),
    )
    op.create_index(op.f("ix_registration_patient_id"), "registration", ["patient_id"])
    op.create_table(
        "suppression",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("contact_point_id", Id, nullable=True),
        sa.Column("patient_id", Id, nullable=True),
        sa.Column("channel", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("lifted_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_point_id"], ["contact_point.id"], name=op.f("fk_suppression_contact_point_id")
        ),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_suppression_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_suppression_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
    )
    op.create_index(
        "ix_suppression_contact_point_id", "suppression", ["contact_point_id"], **_where("lifted_at IS NULL")
    )
    op.create_index("ix_suppression_patient_id", "suppression", ["patient_id"], **_where("lifted_at IS NULL"))
    op.create_table(
        "enrolment",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("campaign_id", Id, nullable=False),
        sa.Column("campaign_key", sa.String(length=64), nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=False),
        sa.Column("lapse_id", Id, nullable=False),
        sa.Column("service_line", sa.String(length=32), nullable=False),
        sa.Column("segment", sa.String(length=32), nullable=False),
        sa.Column("arm", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=True),
        sa.Column("enrolled_at", Instant, nullable=False),
        sa.Column("booked_at", Instant, nullable=True),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("review_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_enrolment_campaign_id")),
        sa.ForeignKeyConstraint(["lapse_id"], ["lapse.id"], name=op.f("fk_enrolment_lapse_id")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_enrolment_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_enrolment_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_enrolment_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment")),
    )
    op.create_index("ix_enrolment_patient_id", "enrolment", ["patient_id"])
    op.create_index("ix_enrolment_site", "enrolment", ["site_id", "enrolled_at"])
    op.create_index("ix_enrolment_review_at", "enrolment", ["review_at"], **_where("review_at IS NOT NULL"))
    op.create_index(
        "uq_enrolment_live", "enrolment", ["patient_id", "campaign_key"], unique=True, **_where("ended_at IS NULL")
    )
    op.create_table(
        "incentive_offer",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("patient_id", Id, nullable=False),
        sa.Column("enrolment_id", Id, nullable=False),
        sa.Column("incentive", sa.String(length=64), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("is_federal", sa.Boolean(), nullable=False),
        sa.Column("offered_at", Instant, nullable=False),
        sa.Column("carried_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolment.id"], name=op.f("fk_incentive_offer_enrolment_id")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_incentive_offer_organisation_id")
        ),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_incentive_offer_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incentive_offer")),
        sa.UniqueConstraint(
            "enrolment_id", "incentive", "year", name=op.f("uq_incentive_offer_enrolment_id_incentive_year")
        ),
    )
    op.create_index("ix_incentive_offer_patient", "incentive_offer", ["patient_id", "year"])
    op.create_table(
        "touch",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("organisation_id", Id, nullable=False),
        sa.Column("patient_id", Id, nullable=True),
        sa.Column("site_id", Id, nullable=True),
        sa.Column("enrolment_id", Id, nullable=True),
        sa.Column("reply_id", Id, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("answer", sa.String(length=32), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("contact_point_id", Id, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("dispatched_until", Instant, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("accepted_at", Instant, nullable=True),
        sa.Column("delivery", sa.String(length=16), nullable=True),
        sa.Column("segments", sa.Integer(), nullable=True),
        sa.Column("ended_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(["contact_point_id"], ["contact_point.id"], name=op.f("fk_touch_contact_point_id")),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolment.id"], name=op.f("fk_touch_enrolment_id")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisation.id"], name=op.f("fk_touch_organisation_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_touch_patient_id")),
        sa.ForeignKeyConstraint(["reply_id"], ["reply.id"], name=op.f("fk_touch_reply_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_touch_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_touch")),
        sa.UniqueConstraint("enrolment_id", "step", "channel", name=op.f("uq_touch_enrolment_id_step_channel")),
        sa.UniqueConstraint("reply_id", name=op.f("uq_touch_reply_id")),
    )
    op.create_index(
        "ix_touch_answers", "touch", ["channel", "due_at"], **_where("state = 'planned' AND kind = 'answer'")
    )
    op.create_index("ix_touch_channel_due_at", "touch", ["channel", "due_at"], **_where("state = 'planned'"))
    op.create_index(
        "ix_touch_dispatched",
        "touch",
        ["dispatched_until", "channel"],
        **_where("state = 'planned' AND dispatched_until IS NOT NULL"),
    )
    op.create_index(
        "ix_touch_due", "touch", ["channel", "site_id", "priority", "due_at"], **_where("state = 'planned'")
    )
    op.create_index("ix_touch_due_at", "touch", ["due_at"], **_where("state = 'planned'"))
    op.create_index("ix_touch_enrolment_id", "touch", ["enrolment_id"])
    op.create_index("ix_touch_patient_id", "touch", ["patient_id"])
    op.create_table(
        "attempt",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("touch_id", Id, nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("patient_id", Id, nullable=True),
        sa.Column("contact_point_id", Id, nullable=False),
        sa.Column("site_id", Id, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("claimed_at", Instant, nullable=False),
        sa.Column("lease_until", Instant, nullable=False),
        sa.Column("called_at", Instant, nullable=True),
        sa.Column("finished_at", Instant, nullable=True),
        sa.Column("provider_ref", sa.String(length=128), nullable=True),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("zones", sa.String(length=2000), nullable=False),
        sa.Column("states", sa.String(length=400), nullable=True),
        sa.Column("template_id", Id, nullable=True),
        sa.Column("needs_person", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("asked_at", Instant, nullable=True),
        sa.Column("is_asking", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["contact_point_id"], ["contact_point.id"], name=op.f("fk_attempt_contact_point_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_attempt_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_attempt_site_id")),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name=op.f("fk_attempt_template_id")),
        sa.ForeignKeyConstraint(["touch_id"], ["touch.id"], name=op.f("fk_attempt_touch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("token", name=op.f("uq_attempt_token")),
    )
    op.create_index(
        "ix_attempt_contact_caps",
        "attempt",
        ["contact_point_id", "claimed_at"],
        **_where("state IN ('sending', 'accepted', 'uncertain')"),
    )
    op.create_index("ix_attempt_lease", "attempt", ["lease_until"], **_where("state = 'sending'"))
    op.create_index(
        "ix_attempt_patient_caps",
        "attempt",
        ["patient_id", "claimed_at"],
        **_where("state IN ('sending', 'accepted', 'uncertain')"),
    )
    op.create_index("ix_attempt_rejected", "attempt", ["provider", "error_code"], **_where("state = 'rejected'"))
    op.create_index("ix_attempt_provider_ref", "attempt", ["provider_ref"])
    op.create_index(
        "ix_attempt_site_day",
        "attempt",
        ["site_id", "claimed_at"],
        **_where("state IN ('sending', 'accepted', 'uncertain') AND site_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_attempt_touch_id"), "attempt", ["touch_id"])
    op.create_index("ix_attempt_uncertain", "attempt", ["claimed_at"], **_where("state = 'uncertain'"))
    op.create_table(
        "outcome",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("enrolment_id", Id, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("appointment_id", Id, nullable=False),
        sa.Column("touch_id", Id, nullable=True),
        sa.Column("at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointment.id"], name=op.f("fk_outcome_appointment_id")),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolment.id"], name=op.f("fk_outcome_enrolment_id")),
        sa.ForeignKeyConstraint(["touch_id"], ["touch.id"], name=op.f("fk_outcome_touch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome")),
        sa.UniqueConstraint("enrolment_id", "kind", name=op.f("uq_outcome_enrolment_id_kind")),
    )
    op.create_table(
        "touch_event",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("touch_id", Id, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=True),
        sa.Column("until", Instant, nullable=True),
        sa.Column("rule", sa.String(length=48), nullable=True),
        sa.ForeignKeyConstraint(["touch_id"], ["touch.id"], name=op.f("fk_touch_event_touch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_touch_event")),
    )
    op.create_index(op.f("ix_touch_event_touch_id"), "touch_event", ["touch_id"])
    op.create_index("ix_touch_event_taken", "touch_event", ["until"], **_where("what = 'taken'"))


def downgrade() -> None:
    op.drop_table("touch_event")
    op.drop_table("outcome")
    op.drop_table("attempt")
    op.drop_table("touch")
    op.drop_table("incentive_offer")
    op.drop_table("enrolment")
    op.drop_table("suppression")
    op.drop_table("registration")
    op.drop_table("patient_contact")
    op.drop_table("lapse")
    op.drop_table("disclosure")
    op.drop_table("choice_event")
    op.drop_table("care_gap")
    op.drop_table("care")
    op.drop_table("appointment")
    op.drop_table("template_event")
    op.drop_table("template")
    op.drop_table("campaign_template")
    op.drop_table("template_version")
    op.drop_table("step")
    op.drop_table("site_line")
    op.drop_table("reply")
    op.drop_table("patient")
    op.drop_table("import_reject")
    op.drop_table("consent")
    op.drop_table("open_slots")
    op.drop_table("site")
    op.drop_table("import_file")
    op.drop_table("contact_point")
    op.drop_table("campaign_event")
    op.drop_table("campaign")
    op.drop_table("receipt")
    op.drop_table("quarantine")
    op.drop_table("outbox")
    op.drop_table("reconciliation")
    op.drop_table("organisation")
    op.drop_table("heartbeat")
    op.drop_table("event_seen")
    op.drop_table("channel_pause")
    op.drop_table("schema_step")
    op.drop_table("listener")
