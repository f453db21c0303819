"""The command `reactivate`: the roof over everything."""

from __future__ import annotations

import os
import sys

try:
    from functools import partial
    from importlib.metadata import version
    from pathlib import Path
    from typing import Any

    import click

    from ops.cli import (
        asking,
        calls,
        campaign,
        channel,
        choice,
        data,
        demo,
        desk,
        fleet,
        intent,
        listener,
        people,
        reconcile,
        rules,
        slots,
        template,
        texts,
    )
    from ops.cli.base import plain_errors
except KeyboardInterrupt:
    # reading all of this takes a second, and nothing has begun yet
    sys.exit(130)


class _Group(click.Group):
    """Shows no traceback for what a user can mend, and ends quietly on Ctrl-C."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        # `--help` is told from here
        with plain_errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with plain_errors():
            return super().invoke(ctx)


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
    # homes, stories and every file in them are for their owner alone, whichever command or child process makes them
    context.call_on_close(partial(os.umask, os.umask(0o077)))
    context.obj = {"home": home}


for command in (
    demo.demo,
    demo.rehearse,
    data.import_,
    data.migrate,
    data.keys,
    data.quarantine,
    campaign.campaign,
    template.template,
    texts.segments,
    fleet.up,
    fleet.worker,
    fleet.clock,
    fleet.web,
    fleet.services,
    channel.channel,
    listener.listener,
    asking.explain,
    asking.audit,
    asking.report,
    people.inbox,
    calls.calls,
    desk.find,
    choice.choice,
    reconcile.reconcile,
    slots.slots,
    rules.rules,
    rules.hours,
    intent.intent,
    asking.completion,
):
    main.add_command(command)


def _show_examples_whole(command: click.Command) -> None:
    """Put the example of a command, and of those below it, on a line that is never wrapped, to be copied."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _show_examples_whole(each)
    elif command.epilog is not None:
        # \b: click leaves the lines of the paragraph as they are
        command.epilog = command.epilog.replace("Example: ", "\b\nExample:\n  ", 1)


_show_examples_whole(main)


if __name__ == "__main__":
    main()
