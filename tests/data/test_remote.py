"""What a server's refusal says is read whatever form it has."""

from __future__ import annotations

from data.remote import error_text, retry_after


def test_retry_after_is_read_as_seconds_or_date() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert retry_after("Fri, 31 Dec 2100 23:59:59 GMT") > 1e6
    assert [retry_after(value) for value in (None, "", "soon", "-3")] == [0.0] * 4


def test_an_error_is_one_short_line_whatever_the_server_sends() -> None:
    for answer, raw in (({"error": {"message": "no\n such"}}, ""), ({"error": "no such"}, ""), (None, "no  such")):
        assert error_text(answer, raw) == "no such"
    assert len(error_text(None, "x" * 1000)) == 300
