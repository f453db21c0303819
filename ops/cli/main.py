"""The command `reactivate`: the roof over everything."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import click

from ops.cli import asking, campaign, data, demo, fleet, people
from ops.cli.base import plain_errors


class _Group(click.Group):
    """Shows no traceback for what a user can mend, and ends quietly on Ctrl-C."""

    def invoke(self, ctx: click.Context) -> object:
        with plain_errors():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("\ninterrupted; what was committed is safe", err=True)
                sys.exit(130)
            except BrokenPipeError:
                sys.stderr.close()
                sys.exit(0)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `reactivate demo`. Shell completion: `reactivate completion bash`.",
)
@click.version_option(version("patient-reactivation-fleet"), prog_name="reactivate")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="REACTIVATE_HOME",
    help="Where embedded mode keeps its ledger and keys, and `web` its spool (default: .reactivate).",
)
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Brings lapsed patients back into care: outreach that respects choices, hours and caps, measured honestly."""
    context.obj = {"home": home}


for command in (
    demo.demo,
    demo.rehearse,
    data.import_,
    data.migrate,
    data.keys,
    data.quarantine,
    campaign.campaign,
    fleet.up,
    fleet.worker,
    fleet.clock,
    fleet.web,
    fleet.services,
    fleet.channel,
    asking.explain,
    asking.audit,
    asking.report,
    people.inbox,
    asking.completion,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
