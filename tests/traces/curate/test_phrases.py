"""Refusals, claims of identity and cutoff dates; and what only looks like them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from traces.curate.phrases import phrases

FOUND = [
    ("refusal", "I'm sorry, but I can't help with that."),
    ("refusal", "I\u2019m really sorry, but I can\u2019t assist with that request."),
    ("refusal", "Sorry, I cannot provide instructions for that."),
    ("refusal", "I cannot fulfill this request."),
    ("refusal", "I can't help you with this, but here is a hotline."),
    ("refusal", "I am unable to comply."),
    ("refusal", "I must decline."),
    ("refusal", "I must respectfully decline to answer."),
    ("refusal", "**I won't be able to assist you.**"),
    ("refusal", "As an AI language model, I cannot provide medical advice."),
    ("refusal", "Hello! Unfortunately, I'm not able to discuss this topic."),
    ("refusal", "I apologize, but I cannot answer that question."),
    ("refusal", "I\u2019m not comfortable helping with this."),
    ("identity", "I am ChatGPT, a large language model."),
    ("identity", "Hello! I'm DeepSeek-R1, here to help. 4"),
    ("identity", "4.\nI'm Claude, an AI assistant made by Anthropic."),
    ("identity", "I was trained by OpenAI. The answer is 4."),
    ("identity", "I am a large language model, trained by Google."),
    ("identity", "As an AI assistant developed by Alibaba Cloud, I say 4."),
    ("identity", "My name is Qwen."),
    ("cutoff", "As of my last update in October 2023 there are 8."),
    ("cutoff", "There are 8, but my knowledge cutoff is 2021."),
    ("cutoff", "My training data only goes up to 2022. So 8."),
    ("cutoff", "I don't have access to real-time data, so look it up."),
    ("cutoff", "Knowledge cutoff: 2023-10\n\nThe answer is 8."),
    ("refusal", "I'm sorry, I can't do that."),
    ("refusal", "I can't assist with creating malware."),
    ("refusal", "Sorry, but I can't comply with that."),
    ("refusal", "I'm afraid I can't help with that request."),
    ("refusal", "I will not provide instructions on how to do that."),
    ("refusal", "I can't engage in this conversation."),
    ("refusal", "I'm unable to help with requests of this kind."),
    ("refusal", "I cannot and will not help with this."),
    ("refusal", "As an AI, I can't give legal advice."),
    ("refusal", "I don't feel comfortable answering this."),
    ("refusal", "I can\u2019t provide assistance with that."),
    ("refusal", "Thank you for asking, but I cannot help with that."),
    ("refusal", "I'm sorry, but as an AI language model I cannot generate such content."),
    ("identity", "I'm GPT-4, made by OpenAI."),
    ("identity", "As a language model developed by OpenAI, I think 4."),
    ("identity", "I am Gemini, a large language model built by Google."),
    ("identity", "I'm an AI created by DeepSeek."),
    ("identity", "I'm Qwen, created by Alibaba Cloud."),
    ("identity", "I am a helpful assistant made by Anthropic."),
    ("cutoff", "As of my knowledge cutoff in 2023, eight."),
    ("cutoff", "As of my last training data in 2021, eight."),
    ("cutoff", "My information is current only up to 2022."),
    ("cutoff", "I cannot browse the internet; my data ends in 2021."),
    ("cutoff", "Up to my last update in September 2021, it was 8."),
    ("refusal", "I'm sorry, but I can't fulfill this request."),
    ("refusal", "I\u2019m sorry, I cannot assist with that."),
    ("refusal", "I can't provide help with making weapons."),
    ("refusal", "Sorry, I'm not able to help you with that."),
    ("refusal", "I won't help with this."),
    ("refusal", "I can't discuss this topic."),
    ("refusal", "I appreciate the question, but I'm not comfortable answering that."),
    ("refusal", "I do not feel comfortable assisting with this request."),
    ("refusal", "I'm going to have to decline this request."),
    ("refusal", "I cannot create content that promotes violence."),
    ("refusal", "Unfortunately, I am not able to process this request."),
    ("refusal", "My apologies, but I cannot respond to that question."),
    ("identity", "Hello, I'm ChatGPT! The answer is 5."),
    ("identity", "I am Grok, a chatbot made by xAI."),
    ("identity", "I am an AI language model created by OpenAI, so I count 5."),
    ("identity", "As ChatGPT, I would say 5."),
    ("identity", "I'm DeepSeek, an AI by DeepSeek Company."),
    ("cutoff", "As of my last knowledge update in January 2022, five."),
    ("cutoff", "My training data includes information up to 2021, so five."),
    ("cutoff", "As of my knowledge cutoff, five."),
    ("cutoff", "I don't have real-time access, so check."),
    ("cutoff", "My latest update was in April 2023; five then."),
    ("refusal", "I'm not able to help with synthesizing that compound."),
    (
        "refusal",
        "I must decline this request, since it asks for personal information about a person.",
    ),
    ("refusal", "Sorry, but that's not something I can assist with."),
    ("refusal", "I won't provide instructions for picking that lock."),
    ("refusal", "I\u2019m sorry, but I can\u2019t help with that."),
    (
        "refusal",
        "Unfortunately, I am unable to fulfil your request because it involves copyrighted lyrics.",
    ),
    ("refusal", "I don't feel comfortable writing this kind of content."),
    ("refusal", "My apologies, but I am not permitted to discuss that topic."),
    ("identity", "As a language model developed by Alibaba Cloud, I compute 3 + 4 = 7."),
    ("identity", "I'm Claude, an AI assistant made by Anthropic. The answer is 12."),
    ("identity", "The answer is 7. By the way, my name is Qwen and I enjoy such puzzles."),
    ("identity", "I was trained by DeepSeek, so let me reason step by step. 2 + 2 = 4."),
    ("identity", "You are talking to ChatGPT, and I am happy to help: x = 3."),
    ("cutoff", "As of my last update in September 2021, the record stood at 9.58 s."),
    ("cutoff", "My training data only goes up to 2023, so later elections are missing."),
    ("cutoff", "I have no information about events after October 2023."),
    ("cutoff", "My knowledge ends in April 2024; the population was then 8.1 billion."),
    ("cutoff", "Based on the information available to me up to early 2022, the answer is Paris."),
    (
        "cutoff",
        "I don't have access to real-time data, so I will use last year's exchange rate of 1.08.",
    ),
    ("cutoff", "Please note that my knowledge cut-off is June 2024."),
]
CLEAN = [
    # mathematics that cannot be done
    "I cannot find an integer x with that property, so there is none.",
    "I can't simplify this further: \\boxed{\\sqrt{2}}.",
    "We cannot help but notice that both sides are even, so n is even.",
    "I can't help noticing that 7 divides both. The answer is 7.",
    "Unfortunately, we cannot divide by zero here, so x is 2.",
    "We are unable to factor it over the integers.",
    "Sorry, I made a slip above: the sum is 12.",
    "I'm sorry for the confusion; the answer is 12.",
    "We cannot give a closed form, but the series converges to 1.",
    "I cannot provide a proof shorter than this one: let n be even.",
    "We could not do this without the lemma. Let x = 3.",
    # law and language about refusing
    "The officer's refusal to assist is a breach: a person who says 'I can't help' is liable.",
    "A court may refuse to comply with the request where it is vague.",
    "He said: \"I'm sorry, but I can't help with that.\" That is an admission.",
    "The defendant could not assist the victim, so there was no duty.",
    # questions about models
    "ChatGPT is a model developed by OpenAI. It was released in 2022.",
    'It answered, "I am ChatGPT, a language model." The class laughed.',
    "“I am ChatGPT,” it began.",
    "`I am ChatGPT` is 12 characters long.",
    "Qwen is made by Alibaba and DeepSeek by DeepSeek.",
    "I am Claude Monet, and I paint water lilies.",
    "I'm Gemini, my sister is Leo.",
    "My name is Claude and I live in Lyon.",
    "I was trained by a coach from Google's town.",
    "I am a model in Paris.",
    "The assistant was created by Anthropic.",
    # cutoffs of others
    "The cutoff for applications is 1 May 2023.",
    "A knowledge cutoff is the date after which a model has seen no data.",
    "The model's knowledge cutoff is October 2023.",
    "As of 2023 there are 8 planets.",
    "My knowledge of algebra says that x = 2.",
    "The update of 2023 ended my training as a nurse.",
    "Real-time data are sent every second.",
    "I cannot help thinking that this is a trick, yet 2+2=4.",
    "I am unable to answer the second part without the value of g, so assume g = 9.8.",
    "We cannot answer this question by counting alone; use inclusion-exclusion.",
    "I can't do this in my head, so let me write it out: 12*13=156.",
    "I won't do the algebra twice. x=3.",
    "Unfortunately, this integral has no elementary form.",
    "I cannot share the cake equally among 7, so 6 get one.",
    "I could not give any counterexample, so the statement is true: \\boxed{T}.",
    "We must decline the null hypothesis.",
    "I cannot offer any reason for the variance other than noise.",
    "I have to decline the word 'amo': amo, amas, amat.",
    "I am Llama, said the animal.",
    "I'm a model railway builder created by Google Maps.",
    "I was made by my mother.",
    "I am Claude, the butler.",
    "As a model trained by gradient descent, the network has weights.",
    "My training ended in 1999.",
    "My last update to the table gives 8.",
    "My knowledge ends here; see the appendix.",
    "I don't have real-time control over the valve, so t=3.",
    "As of my last calculation, x = 4.",
    "As of my last data point the slope is 2.",
    "I'm not going to do this by brute force.",
    "We are not able to do this with a ruler alone.",
    "I can't help with the packing argument here, so use a bound: 5.",
    "I am unable to process your claim because the statute bars it.",
    "We cannot support this conclusion: the p-value is 0.2.",
    "I am not permitted to divide by zero, so x \u2260 0.",
    "I cannot fulfill both constraints at once, so the answer is 0.",
    "I cannot give you a number without units: 5 m.",
    "I can't assist the proof by symmetry since the terms differ.",
    "I cannot comply with both equations, so there is no solution? No: x=1.",
    "I can't discuss the limit without the derivative: f'(0)=1.",
    "I will not provide a second method; the first gives 4.",
    "I do not support this view: the statute is silent.",
    "I can't support that claim, because the sample is biased.",
    "I cannot answer that without the mass. Take m = 1.",
    "I cannot process it mentally: 345*12 = 4140.",
    "I don't help the reader by skipping steps, so: 1+1=2.",
    "Unfortunately, I can't do this by hand; numerically it is 0.739.",
    "I am not able to factor it, so use the formula.",
    "Sorry, I can't give an exact value; it is about 2.7.",
    "I cannot create a triangle with sides 1, 2, 5.",
    "I can't produce such a number below 10, so the answer is 11.",
    "I cannot write such a polynomial of degree 2, so degree 3.",
    "I am an assistant professor trained by Google engineers.",
    "I was designed by Google Maps, says the route.",
    "I am Phi, a letter.",
    "As a model made by hand it costs 5 dollars.",
    "My data is from 2021 and shows a rise.",
    "My information was published in 2019 in a journal.",
    "My last update of the estimate uses the 2020 census.",
    "I do not have real-time clocks here, so t is simulated.",
    "I can't help you see it without a diagram, so draw ABC.",
    "I cannot divide by x here, since x may be zero.",
    "I can't find an integer solution below 10, so let us look further. The answer is 11.",
    "Sorry, I made an arithmetic slip above: 7\u00b78 = 56.",
    "I am unable to factor this over the integers, so I use the quadratic formula.",
    "Unfortunately, we cannot apply L'H\u00f4pital's rule here, as it is not of the form 0/0.",
    "I refuse to accept the null hypothesis at the 5% level, because p = 0.03 is below it.",
    "We must decline the offer, since its expected value is negative: -0.50 dollars.",
    "I won't expand the product; comparing leading terms is enough.",
    "I'm sorry to say that the cat is dead with probability 1/2.",
    "I do not see how the second condition helps; the first alone gives n = 6.",
    "It is not possible for me to reach the top in fewer than 6 steps, by the parity argument.",
    "I cannot help but notice that the sum telescopes. It equals 1 - 1/n.",
    "I can't assume that f is continuous, so I use the definition directly.",
    "I'm afraid the series diverges, since its terms do not tend to zero.",
    "Against the guidelines of good style, the function has 200 lines; here it is shorter.",
    "I would rather not use calculus here: AM-GM gives the minimum 2 at once.",
    "My name is Anna and I am 12, says the child; so her brother is 15.",
    "I am a robot that moves one step north each minute; after 5 minutes I am at (0, 5).",
    "As an AI researcher at Google, she earned 120,000 dollars a year before taxes.",
    "The model trained by OpenAI researchers reached 92.0%, so the error rate is 8.0%.",
    "Claude Shannon, I believe, was the first to define entropy this way: H = 1 bit.",
    "I used GPT-2's vocabulary size, 50257, in the computation of the embedding matrix.",
    "The cut-off frequency of my filter is 1/(2\u03c0RC) = 159 Hz.",
    "As of my last count there are 14 marbles in the jar, so 6 are missing.",
    "The table is up to date until 2023, so the last entry is 8.05 billion.",
    "To my knowledge, no closed form exists after the fifth degree (Abel\u2013Ruffini).",
    "I am trained by my coach three times a week, so in 4 weeks that makes 12 sessions.",
    "I have no information about the angle at B, so I call it \u03b2 and eliminate it.",
    "My training set ends at row 800, so the test set has 200 rows.",
    "As a language, Latin has six cases; as a model of word order it is free.",
]


def test_no_answer_of_the_sets_for_verifiers_is_taken() -> None:
    sets = sorted((Path(__file__).resolve().parents[3] / "benchmarks").glob("*_answers.jsonl"))
    rows = [json.loads(line) for path in sets for line in path.read_text().splitlines()]
    assert len(rows) > 1500
    assert [row for row in rows if phrases(row["question"], "", row["response"])] == []


@pytest.mark.parametrize(("rule", "answer"), FOUND, ids=[text[:40] for _, text in FOUND])
def test_the_speakers_own_sentence_is_found(rule: str, answer: str) -> None:
    assert rule in phrases("What is it?", "Let me think.", answer)
    assert rule in phrases("What is it?", "Let me think.", f"<think>hm</think>\n{answer}")


@pytest.mark.parametrize("answer", CLEAN, ids=[text[:40] for text in CLEAN])
def test_what_only_looks_like_one_is_not(answer: str) -> None:
    assert phrases("What is it?", "Let me think.", answer) == ()


def test_only_the_beginning_of_the_reasoning_counts() -> None:
    claim = "I am ChatGPT, so I should be careful."
    assert phrases("?", claim, "4") == ("identity",)
    assert phrases("?", "So " * 200 + claim, "4") == ()
    assert phrases("?", "I'm sorry, but I can't help with that.", "4") == ()
    assert phrases("?", None, None) == ()


def test_a_refusal_that_was_asked_for_is_none() -> None:
    letter = "I'm sorry, but I can't help you with that."
    assert phrases("Write a text in which I decline to help a friend.", None, letter) == ()
    assert phrases("Write a text to a friend.", None, letter) == ("refusal",)


def test_a_long_answer_is_read_at_both_ends() -> None:
    long = "So it goes on. " * 1000
    assert phrases("?", None, f"{long}I am ChatGPT.") == ("identity",)
    assert phrases("?", None, f"{long}I am ChatGPT.{long}") == ()


def test_a_refusal_counts_only_where_the_answer_begins() -> None:
    later = "The total is 12. " * 3 + "I'm sorry, but I can't help with the rest."
    assert phrases("?", None, later) == ()


@pytest.mark.parametrize(
    "text",
    [
        "I am a " * 60_000,
        "# " * 200_000,
        "my " * 100_000,
        "I'm sorry, " * 50_000,
        "I am \n" + "\n" * 300_000,
    ],
)
def test_hostile_texts_are_read_to_their_end(text: str) -> None:
    assert phrases("?", text, text) == ()
