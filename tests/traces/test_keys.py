from __future__ import annotations

import pickle

from traces.keys import trace_key
from traces.record import Message, Sampling, TeacherRecord

TEACHER = TeacherRecord("", "local", "m")
MESSAGES = (Message("user", "?"),)


def test_a_key_depends_on_the_values_of_the_sampling_and_not_on_where_they_were_made() -> None:
    for sampling in (Sampling(), Sampling(0.7, 0.5, extra={"top_k": 3})):
        key = trace_key(TEACHER, MESSAGES, sampling, 0)
        sent = pickle.loads(pickle.dumps(sampling))
        parsed = Sampling(
            float(str(sampling.temperature)), float(str(sampling.top_p)), extra=sampling.extra
        )
        assert key == trace_key(TEACHER, MESSAGES, sent, 0)
        assert key == trace_key(TEACHER, MESSAGES, parsed, 0)
    assert trace_key(TEACHER, MESSAGES, Sampling(top_p=0.9), 0) != trace_key(
        TEACHER, MESSAGES, Sampling(), 0
    )
