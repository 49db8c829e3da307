"""Prefixes are the lists that they stand for, and counting them part by part changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from amusd.sampling.prefixes import Prefixes, TokenCounts

tokens = st.lists(st.integers(0, 5), max_size=6)
paths = st.lists(tokens, min_size=1, max_size=4)


@given(log=tokens, paths=paths)
def test_a_prefix_is_the_log_and_the_rows_own_path(log, paths):
    prefixes = Prefixes(log, paths)
    assert list(prefixes) == [log + path for path in paths]
    assert Prefixes.of(prefixes) is prefixes
    assert list(Prefixes.of([log + path for path in paths])) == list(prefixes)


@given(log=tokens, paths=paths, prompt_length=st.integers(0, 8), count=st.integers(1, 4))
def test_the_end_of_an_output_holds_no_prompt(log, paths, prompt_length, count):
    for row, path in enumerate(paths):
        output = (log + path)[prompt_length:]
        assert Prefixes(log, paths).output_end(row, prompt_length, count) == tuple(output[-count:])


def counted(counts, prefixes):
    """Per row: occurrences in the output, and which tokens occur at all."""
    ids, outputs, occurs = counts.of(prefixes)
    rows = []
    for output, there in zip(outputs.tolist(), occurs.tolist(), strict=True):
        named = dict(zip(ids.tolist(), zip(output, there, strict=True), strict=True))
        rows.append(
            ({t: n for t, (n, _) in named.items() if n}, {t for t, (_, there) in named.items() if there})
        )
    return rows


def by_definition(prefix, prompt_length):
    output = prefix[prompt_length:]
    return {token: output.count(token) for token in output}, set(prefix)


@given(steps=st.lists(st.tuples(tokens, paths), min_size=1, max_size=4), prompt_length=st.integers(1, 8))
def test_counts_of_a_growing_log_are_those_of_the_whole_text(steps, prompt_length):
    counts, log = TokenCounts(prompt_length, "cpu"), [3]
    for more, below in steps:
        log.extend(more)
        prefixes = Prefixes(log, below)
        assert counted(counts, prefixes) == [by_definition(prefix, prompt_length) for prefix in prefixes]


@given(logs=st.lists(tokens, min_size=2, max_size=3), below=paths)
def test_another_log_is_counted_afresh(logs, below):
    counts = TokenCounts(2, "cpu")
    for log in logs:
        prefixes = Prefixes(log, below)
        assert counted(counts, prefixes) == [by_definition(prefix, 2) for prefix in prefixes]
