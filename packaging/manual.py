"""Write the manual page credit-monitor(1), made from the commands' own help, to standard output."""

import re
import sys

import click

from monitor import __version__
from monitor.cli import cli

FILES = r"""
.SH FILES
.TP
.I /etc/credit-monitor/config.toml
The configuration, with no secret in it. \fBcredit\-monitor config init \-\fR prints every setting.
.TP
.I /etc/credit-monitor/credentials/
One file of mode 0600 for each secret, named as its setting: CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY for the key of
account \fIstudio\fR, CREDIT_MONITOR_CHANNELS__OPS__URL for the address of channel \fIops\fR.
.TP
.I /etc/systemd/system/credit-monitor.service.d/credentials.conf
Hands them to the service: a section [Service] with a line for each,
LoadCredential=NAME:/etc/credit-monitor/credentials/NAME
.TP
.I /var/lib/credit-monitor/
The database, and the copies that an upgrade makes of it.
.SH ENVIRONMENT
.TP
.B STABILITY_API_KEY
A key alone is a working configuration.
.TP
.B CREDIT_MONITOR_*
Any setting: CREDIT_MONITOR_POLL__EVERY for poll.every.
.TP
.B CREDENTIALS_DIRECTORY
Where files with such names are.
.SH EXIT STATUS
.B check
ends with 0 ok, 1 warning, 2 critical, 3 unknown;
.B healthy
with 0 or 1. Besides: 64 usage, 69 a test message was not delivered, 70 unexpected, 74 output lost, 75 database
unreachable or held by another daemon, 78 configuration.
"""


def escaped(text: str) -> str:
    r"""Return text as roff takes it: no backslash, hyphen or leading dot of its own."""
    return re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", r"\e").replace("-", r"\-"))


def paragraphs(help_text: str) -> str:
    lines = [line.strip() for line in help_text.replace("\b", "").strip().splitlines()]
    return ".PP\n".join(f"{escaped(part)}\n" for part in "\n".join(lines).split("\n\n"))


def command_section(command: click.Command, context: click.Context) -> str:
    """Return a command with its usage, its help and its options, and those below it."""
    usage = context.get_usage().removeprefix("Usage: ")
    parts = [f".SS {escaped(context.command_path)}\n.B {escaped(' '.join(usage.split()))}\n.PP\n"]
    parts.append(paragraphs(command.help or ""))
    records = [each.get_help_record(context) for each in command.get_params(context) if "--help" not in each.opts]
    parts += [f".TP\n.B {escaped(record[0])}\n{escaped(record[1])}\n" for record in records if record]
    if isinstance(command, click.Group):
        parts += subcommands(command, context)
    return "".join(parts)


def subcommands(group: click.Group, context: click.Context) -> list[str]:
    names = group.list_commands(context)
    commands = [(name, command) for name in names if (command := group.get_command(context, name))]
    return [
        command_section(command, click.Context(command, info_name=name, parent=context)) for name, command in commands
    ]


def page() -> str:
    context = click.Context(cli, info_name="credit-monitor")
    about = escaped(" ".join((cli.help or "").split()).rstrip("."))
    head = f'.TH CREDIT\\-MONITOR 1 "" "credit\\-monitor {__version__}"\n.SH NAME\ncredit\\-monitor \\- {about}\n'
    usage = ".SH SYNOPSIS\n.B credit\\-monitor\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.SH COMMANDS\n"
    return head + usage + "".join(subcommands(cli, context)) + FILES.lstrip("\n")


if __name__ == "__main__":
    sys.stdout.write(page())
