"""What is measured of one trace."""

from __future__ import annotations

from pathlib import Path

from traces.curate.measure import Reader
from traces.record import Message, Prompt, Sampling, Trace

README = Path(__file__).resolve().parents[3] / "README.md"


def compression(text: str) -> float:
    """Of a trace with this answer."""
    trace = Trace("k", "p", 0, 0, "ok", "t", Sampling(), content=text, answer=text)
    return Reader().measure(Prompt("p", (Message("user", "how many"),)), trace).compression


def test_loops_compress_far_better_than_prose_and_a_text_half_of_loops_in_between() -> None:
    prose = README.read_text()[:6000]
    loop = "So the answer is 12. Let me check the second equation once more. " * 92
    assert compression(prose) < 2 < compression(prose + loop) < 4
    assert compression(loop) > 20
    assert compression("") == 0
