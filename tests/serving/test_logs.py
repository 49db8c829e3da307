"""Lines of the log: one an event, its fields told apart."""

import json
import logging

from amusd.serving.logs import _JsonLines, _TextLines


def record(event, **fields):
    made = logging.LogRecord("amusd.server", logging.INFO, __file__, 1, event, (), None)
    made.fields = fields
    return made


def test_text_fields_are_words_and_quoted_where_they_are_not():
    line = _TextLines().format(record("request finished", id="a", seconds=1.23456789, note='two "words"'))
    assert line.endswith('info request finished id=a seconds=1.235 note="two \\"words\\""')


def test_json_lines_hold_the_fields_and_no_second_line():
    line = _JsonLines().format(record("request finished", id="a\nb", seconds=1.5))
    assert "\n" not in line
    found = json.loads(line)
    assert (found["event"], found["id"], found["seconds"]) == ("request finished", "a\nb", 1.5)


def test_what_a_client_sends_cannot_forge_a_line_of_the_log():
    line = _TextLines().format(record("request finished", user="x\n2026 info all is well"))
    assert "\n" not in line
