"""Ask curator the questions of `harvest_faults`: run by the Python that has it, so it stands alone.

Usage: python curator_client.py ADDRESS QUESTIONS.json OUT.jsonl CONCURRENCY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    import tiktoken

    # It fetches its tables from the net; bytes are as good for counting here.
    ranks = {bytes([n]): n for n in range(256)}
    pattern = r"\s+|\S+"
    bytewise = tiktoken.Encoding("b", pat_str=pattern, special_tokens={}, mergeable_ranks=ranks)
    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_: bytewise
    from bespokelabs import curator

    url, questions, out, concurrency = sys.argv[1:]
    model = curator.LLM(model_name="gpt-4o-mini", backend="openai", backend_params={
        "base_url": url, "api_key": "x", "max_requests_per_minute": 10**7,
        "max_tokens_per_minute": 10**10, "max_concurrent_requests": int(concurrency),
        "max_retries": 5, "require_all_responses": False,
        "in_mtok_cost": 0, "out_mtok_cost": 0})  # fmt: skip
    made = model(json.loads(Path(questions).read_text()))
    with Path(out).open("w") as file:
        for row in getattr(made, "dataset", made):
            named = {"question": row.get("prompt", row.get("question")), "answer": row["response"]}
            file.write(json.dumps(named) + "\n")


if __name__ == "__main__":
    main()
