"""`docs/channels.md` has a line for every service of Apprise, as the table of receivers has it."""

from render_channels import LOOKING, PAGE, document

from monitor.channels import receivers, service


def test_the_page_is_what_the_table_says():
    assert PAGE.read_text() == document(), "run: python tests/support/render_channels.py"


def test_the_table_and_the_page_name_services_that_there_are():
    assert [schema for schema in (*receivers.RECEIVERS, *LOOKING) if schema not in service.PLUGINS] == []
