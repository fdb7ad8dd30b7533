"""What may come out of a sandbox, and what costs the submission its points."""

import base64
import json

import pytest

from gpuclass.grader import wire

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()


def answer(*outputs: object, **changes: object) -> dict[str, object]:
    return {"id": "a", "ok": True, "outputs": list(outputs), **changes}


def test_a_plain_answer_is_taken_apart() -> None:
    run = wire.reply(
        answer(
            {"type": "stream", "name": "stderr", "text": "warning\n"},
            {"type": "result", "data": {"text/plain": "2.0"}},
            {"type": "error", "name": "ValueError", "message": "no", "traceback": ["a", "b"]},
        ),
        "a",
    )
    assert run.ok
    assert [output.output_type for output in run.outputs] == ["stream", "execute_result", "error"]
    assert run.outputs[1].data == {"text/plain": "2.0"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"score": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
        b"\x80\x04cposix\nsystem\n.",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_not_one_json_object_is_garbled(body: bytes) -> None:
    with pytest.raises(wire.Garbled):
        wire.decode(body)


@pytest.mark.parametrize(
    "message",
    [
        answer(id="b"),
        answer(ok=1),
        answer(ok="true"),
        answer(extra=1),
        {"id": "a", "ok": True},
        answer(outputs={}),
        answer(outputs=[{}] * (wire.OUTPUTS_LIMIT + 1)),
        answer([]),
        answer({"type": "points", "data": 5}),
        answer({"type": "stream", "name": "stdin", "text": ""}),
        answer({"type": "stream", "name": "stdout", "text": ["x"]}),
        answer({"type": "stream", "name": "stdout", "text": "x", "metadata": {}}),
        answer({"type": "result", "data": {"text/plain": 1.0}}),
        answer({"type": "error", "name": "E", "message": None, "traceback": []}),
        answer({"type": "error", "name": "E", "message": "", "traceback": "x"}),
    ],
    ids=lambda message: json.dumps(message)[:60],
)
def test_anything_unexpected_is_garbled(message: dict[str, object]) -> None:
    with pytest.raises(wire.Garbled):
        wire.reply(message, "a")


def test_only_known_types_are_shown_and_html_is_made_safe() -> None:
    shown = wire.output(
        {
            "type": "display",
            "data": {
                "text/html": "<b>hi</b><script>steal()</script><img src=x onerror=steal()>",
                "application/javascript": "steal()",
                "image/svg+xml": "<svg onload=steal()>",
                "text/latex": r"\href{javascript:steal()}{x}",
                "image/png": PNG,
            },
        }
    )
    assert shown is not None
    assert set(shown.data) == {"text/html", "image/png"}
    assert "steal" not in shown.data["text/html"]
    assert "<b>hi</b>" in shown.data["text/html"]


@pytest.mark.parametrize("data", ["not base64!", base64.b64encode(b"<svg>").decode(), PNG + '"><script>'])
def test_a_picture_that_is_none_is_left_out(data: str) -> None:
    assert wire.output({"type": "display", "data": {"image/png": data}}) is None


def test_text_can_always_be_written_as_utf8() -> None:
    assert wire.text("a\ud800b\0").encode("utf-8") == "a?b\ufffd".encode()


def test_a_frame_is_its_length_and_ascii() -> None:
    frame = wire.encode({"source": "print('한글')"})
    assert frame[:4] == len(frame[4:]).to_bytes(4, "big")
    assert wire.decode(frame[4:]) == {"source": "print('한글')"}
