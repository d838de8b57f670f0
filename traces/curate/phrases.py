"""Sentences that a student should not learn from its teacher, in English.

refusal    the answer begins by declining to help
identity   the speaker says which model it is, or who made it
cutoff     the speaker tells of its own knowledge cutoff, or that it has no data of today

A refusal is looked for where the answer begins, the others where it begins and ends, and where the
reasoning begins: what a model writes about refusals, models and cutoffs is no such sentence, nor is
a thing that mathematics cannot do ("I cannot find such an x"). The sentence has to be the speaker's
own, so what stands in quotes does not count, nor a refusal that the question asks for.
"""

from __future__ import annotations

import re

from traces.verify.extract import answer_part

HEAD_CHARS = 300  # of the reasoning, and of the answer for a refusal
END_CHARS = 2000  # at either end of a long answer, for the others

_OPENING = r"\A[\s*_#>]*(?:(?:hi|hello|hey)\b[^.!\n]{0,20}[.!,]\s+)?"
_SORRY = (
    r"(?:(?:i'm|i am|we're|we are)\s+(?:\w+\s+)?(?:sorry|afraid(?:\s+that)?)|sorry|my apologies|"
    r"(?:i|we)\s+apologi[sz]e|unfortunately|(?:thank you|thanks|i appreciate)\b[^.!\n]{0,60}|"
    r"as an ai(?:\s+[\w-]+){0,3}?)[,.!:]?\s+(?:but\s+|however,?\s+)?"
)
_UNABLE = (
    r"i(?:\s+(?:can'?t|can\s?not|won't|will not|don't|do not)|'m not|\s+am not|'m un|\s+am un)"
    r"(?:\s+and (?:will not|won't))?\s*(?:feel\s+)?(?:going to|able to|allowed to|permitted to|"
    r"be able to|comfortable(?: with| to)?)?\s*"
)
_THIS = r"(?:that|this|it|your|such|those|these)"
_ENDS = r"\s*(?:[.,!]|\Z|\s(?:because|as|since|due)\b)"
_THING = r"\s+(?:request|question|prompt|query|task|topic|matter|kind|type|conversation)s?\b"
_HELP = (
    r"(?:(?:help|assist|aid)(?:ing)?(?:\s+you)?(?:\s+(?:with|in|on|by)\b(?!out)"
    rf"(?:\s+(?:{_THIS}(?:{_THING}|{_ENDS})|requests?\b|anything\b|\w+ing\b))|{_ENDS})|"
    rf"assist(?:ing)?\s+with\b|"
    rf"comply(?:ing)?(?:\s+with\s+{_THIS}(?:{_THING}|{_ENDS})|{_ENDS})|fulfil+(?:ing)?\s+(?:{_THIS}|the)\s+request|"
    rf"(?:engage|participate)\s+in\s+(?:{_THIS}|any)\b|continue with this\b|"
    rf"discuss(?:ing)?\s+{_THIS}\b|"
    r"(?:provid|offer|giv|shar)(?:e|ing)?\s+(?:you\s+(?:with\s+)?)?(?:any\s+|specific\s+)?"
    r"(?:assistance|help with|guidance|instructions|(?:legal|medical|financial) advice|"
    rf"information (?:on|about|that)\b|{_THIS}\s+(?:information|kind|type|content|service))|"
    rf"(?:answer(?:ing)?|respond(?:ing)? to|process(?:ing)?|complete|support)\s+{_THIS}"
    rf"(?:\s+(?:request|question|prompt|query))?{_ENDS}|"
    r"(?:writ|creat|generat|produc)(?:e|ing)\s+(?:such (?:content|material)\b|content\b|material\b|"
    r"(?:that|this)\s+(?:kind|type|content|material|story|script)\b))"
)
_DECLINE = (
    r"i(?:'m going to have to|\s+must|\s+have to|\s+need to)\s+(?:\w+ly\s+)?decline"
    r"(?:\s+(?:this|that|your)\s+request|\s+to\s+(?:answer|help|assist|do so|discuss|provide)|"
    r"\s*(?:[.,!]|\Z))"
)
_REFUSAL = re.compile(
    rf"{_OPENING}(?:(?:{_SORRY}){{0,2}}(?:{_UNABLE}{_HELP}|{_DECLINE})|"
    rf"(?:{_SORRY}){{1,2}}{_UNABLE}do\s+(?:that|this)\s*(?:[.!]|\Z)|"
    rf"(?:{_SORRY}){{0,2}}(?:that|this)(?:'s|\s+is)\s+(?:not\s+something\s+i\s+can|"
    r"something\s+i\s+(?:can'?t|cannot|won't|am not able to|am unable to))\s+"
    r"(?:help|assist)(?:\s+you)?\s+with\b)",
    re.IGNORECASE,
)
_ASKED_FOR = re.compile(
    r"\b(?:refus\w+|declin\w+|apolog\w+|reject\w*|turn(?:ing)? down|say(?:ing)? (?:no|sorry))\b",
    re.IGNORECASE,
)

_HELLO = r"(?:(?:[Hh]i|[Hh]ello|[Hh]ey)[^.!?\n]{0,20}[.!,]\s+|By the way,\s+)?"
_BEGINS = rf"(?:\A|(?<=[.!?:;]\s)|(?<=\n))[\s*_#>]{{0,8}}{_HELLO}"
_I_AM = r"(?:[Mm]y name is|I'm|I am)"
_MODEL = r"(?:ChatGPT|GPT-?[345]\w*|DeepSeek|Qwen|Tongyi|ERNIE Bot|Hunyuan|Gemma|Copilot|Bard)"
_NAMESAKE = r"(?:Claude|Gemini|Llama|LLaMA|Grok|Mistral|Kimi|Phi|Nova|Command)"
_MAKER = (
    r"(?:OpenAI|Anthropic|Google|Google DeepMind|DeepMind|Meta|Meta AI|Alibaba|Alibaba Cloud|"
    r"DeepSeek|Mistral|Mistral AI|xAI|Microsoft|Moonshot|Zhipu|Baidu|Tencent|Cohere|NVIDIA)"
)
_MADE = rf"(?:trained|developed|created|made|built|designed)\s+by\s+{_MAKER}\b(?!\s+[A-Z])"
_KIND = r"(?:an?|the)\s+(?:[\w-]+\s+){0,4}(?:model|assistant|chatbot|AI)\b"
_IDENTITY = re.compile(
    rf"{_BEGINS}(?:"
    rf"{_I_AM}\s+{_MODEL}\b|"
    rf"{_I_AM}\s+{_NAMESAKE}(?:[ -]?[\d.]+)?,?\s+(?:{_KIND}|{_MADE})|"
    rf"{_I_AM}\s+{_KIND},?\s+(?:that was\s+|which was\s+)?{_MADE}|"
    rf"I (?:was|have been)\s+{_MADE}|"
    rf"As {_KIND},?\s+{_MADE}|As {_MODEL},\s+I\b|"
    rf"(?:You are|You're) (?:talking|speaking|chatting) (?:to|with) {_MODEL}\b)"
)
_DATE = r"[^.!?\n]{0,60}\b20\d\d\b"
_CUTOFF = re.compile(
    r"\b(?:[Mm]y (?:last |latest )?(?:knowledge|training)(?: data)? cut-?\s?off\b|"
    r"[Mm]y (?:last|latest|most recent) (?:knowledge |training )update\b|"
    rf"[Mm]y (?:last|latest|most recent) training data\b{_DATE}|"
    r"[Mm]y (?:last|latest|most recent) update,?(?: was)?(?: in| from| of| on)? "
    r"\(?(?:[A-Z][a-z]+ )?20\d\d\b|"
    rf"[Mm]y (?:knowledge|training data|data|information) (?:is current|is limited|is up to date|"
    rf"(?:only )?(?:goes|extends|ends|ended|stops|includes|covers|comes|reaches))\b{_DATE}|"
    r"I (?:do not|don't) have (?:access to )?real-?\s?time (?:information|data|access)\b|"
    r"I (?:have no|do not have|don't have)(?: any)? (?:information|knowledge|data) (?:about|of|on) "
    rf"(?:events|anything|developments) after\b{_DATE}|"
    rf"(?:information|data|knowledge) available to me (?:up to|until|as of)\b{_DATE}|"
    r"I (?:cannot|can't|can not) browse the (?:internet|web)\b)|"
    r"(?:\A|\n)Knowledge cut-?\s?off: ?(?:20\d\d|[A-Z][a-z]+ 20\d\d)"
)
_QUOTES = tuple("\"'`\u201c\u2018\u00ab")
# What a text has to hold for the pattern to be tried: these look-ups are far cheaper.
_FIRST_PERSON = (
    "I am ",
    "I'm ",
    "I was ",
    "I have been ",
    "y name is ",
    "As a",
    "As Chat",
    "As GPT",
    "You are ",
    "You're ",
)
_ABOUT_DATES = (
    *("y knowledge", "y training", "y data", "y information", "y last ", "y latest "),
    *("y most recent ", "real", "browse the", "nowledge cut", " after ", "available to me"),
)


def phrases(question: str, reasoning: str | None, answer: str | None) -> tuple[str, ...]:
    """The rules that a trace breaks, of `refusal`, `identity` and `cutoff`, in this order."""
    said = answer_part(answer or "").replace("\u2019", "'")
    if len(said) > 2 * END_CHARS:
        said = f"{said[:END_CHARS]}\n{said[-END_CHARS:]}"
    begins = (reasoning or "")[:HEAD_CHARS].replace("\u2019", "'")
    found = []
    if _REFUSAL.match(said[:HEAD_CHARS]) and not _ASKED_FOR.search(question):
        found.append("refusal")
    if any(_own(_IDENTITY, _FIRST_PERSON, text) for text in (said, begins)):
        found.append("identity")
    if any(_own(_CUTOFF, _ABOUT_DATES, text) for text in (said, begins)):
        found.append("cutoff")
    return tuple(found)


def _own(pattern: re.Pattern[str], needed: tuple[str, ...], text: str) -> bool:
    """Whether `pattern` occurs in `text` outside of quotes."""
    if not any(word in text for word in needed):
        return False
    for match in pattern.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        opened = line.count('"') % 2 or line.count("\u201c") > line.count("\u201d")
        if not opened and not line.endswith(_QUOTES) and not match.group().startswith(_QUOTES):
            return True
    return False
