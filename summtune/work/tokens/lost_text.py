"""Finds what a tokenizer cannot represent: characters without a token, line breaks, case, control tokens.

A summary whose tokens do not decode to its text teaches the model a different text. The losses are counted while a
role is tokenized, and stored with its tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import EncodedPrompt, PromptEncoder

Loss: TypeAlias = Literal["dropped", "lines", "spaces", "spacing", "case", "accents", "rewritten"]

_EXAMPLES = 3
_LONGEST_EXAMPLE = 24  # characters
_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_PROBE = "\u0d9a\u13a3\U0001f9ff\U0010fffd"  # Sinhala, Cherokee, an emoji, and a character that is in no vocabulary


@dataclass
class Tally:
    """How many texts a loss affects.

    Args:
        texts: number of texts.
        tokens: number of unknown tokens in them.
        characters: number of lost characters.
        examples: the first ids, with what is lost.
    """

    texts: int = 0
    tokens: int = 0
    characters: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, identity: str, shown: str, tokens: int = 0, characters: int = 0) -> None:
        """Count a text."""
        self.texts += 1
        self.tokens += tokens
        self.characters += characters
        if len(self.examples) < _EXAMPLES and all(identity != known for known, _ in self.examples):
            self.examples.append((identity, shown[:_LONGEST_EXAMPLE] + "…" * (len(shown) > _LONGEST_EXAMPLE)))


class LostText:
    """Counts what is lost in the prompts and summaries of a role.

    Args:
        encoder: of the role.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._kept: set[str] = {" "}
        self._not_kept: set[str] = set()
        self._dropped: set[str] = set()
        probe = encoder.offsets_of(_PROBE, typed=False)[0]
        unknown = encoder.tokenizer.unk_token_id
        writes_all = self._decoded([probe])[0].strip() == _PROBE
        self._drops = not writes_all and unknown not in probe  # such as BPE without an unknown token
        self._unknown: int | None = None if writes_all or self._drops else unknown
        self._counts: dict[str, dict[str, Tally]] = {"prompts": {}, "summaries": {}}
        self._texts = {"prompts": 0, "summaries": 0}
        self._characters = {"prompts": 0, "summaries": 0}

    def prompts(
        self,
        dialogues: Sequence[Dialogue],
        exemplars: Sequence[Sequence[Dialogue]],
        encoded: Sequence[EncodedPrompt],
    ) -> None:
        """Count losses in prompts, except those of the template itself."""
        self._texts["prompts"] += len(dialogues)
        for index, (dialogue, prompt) in enumerate(zip(dialogues, encoded, strict=True)):
            self._characters["prompts"] += len(dialogue.dialogue)
            if not self._drops and not prompt.typed and (self._unknown is None or self._unknown not in prompt.ids):
                continue
            shown = exemplars[index] if exemplars else ()
            given = [dialogue.dialogue, *(text for one in shown for text in (one.dialogue, one.references[0]))]
            suspicious = self._unknown is not None or (self._drops and any(map(self._is_suspicious, given)))
            if prompt.typed:
                self._control("prompts", dialogue.id, "\n".join(given))
            if suspicious:
                self._characters["prompts"] += sum(map(len, given[1:]))
                self._unwritten("prompts", dialogue.id, "\n".join(given), prompt.typed)

    def summaries(
        self, ids: Sequence[str], summaries: Sequence[str], encoded: Sequence[tuple[list[int], bool]]
    ) -> None:
        """Count losses in summaries; ``ids`` are those of their dialogues."""
        self._texts["summaries"] += len(summaries)
        self._characters["summaries"] += sum(map(len, summaries))
        suspicious = [
            index
            for index, (summary, (tokens, typed)) in enumerate(zip(summaries, encoded, strict=True))
            if typed or self._unknown in tokens or self._hidden(tokens) or self._is_suspicious(summary)
        ]
        decoded = self._decoded([encoded[index][0] for index in suspicious])
        for index, text in zip(suspicious, decoded, strict=True):
            identity, summary, (tokens, typed) = ids[index], summaries[index], encoded[index]
            if typed:
                self._control("summaries", identity, summary)
            known = self._unknown is None or self._unknown not in tokens
            if not known or self._drops:
                self._unwritten("summaries", identity, summary, typed)
            hidden = self._hidden(tokens)
            if hidden:
                self._tally("summaries", "hidden").add(identity, ", ".join(hidden))
            for loss, shown in losses(summary, text):
                if loss == "lines" or (known and not hidden and not (self._drops and loss == "dropped")):
                    self._tally("summaries", loss).add(identity, shown)

    def references(self, dialogues: Iterable[Dialogue]) -> None:
        """Count losses in references that are not trained on; only those with suspicious characters are tokenized."""
        asked = [(one.id, text) for one in dialogues for text in one.references]
        suspicious = [(identity, text) for identity, text in asked if self._is_suspicious(text)]
        self.summaries(
            [identity for identity, _ in suspicious],
            [text for _, text in suspicious],
            self._encoder.encode_summaries([text for _, text in suspicious]),
        )
        self._texts["summaries"] += len(asked) - len(suspicious)
        self._characters["summaries"] += sum(len(text) for _, text in asked) - sum(len(text) for _, text in suspicious)

    def to_json(self) -> dict[str, Any]:
        """Return the number of ``texts`` and ``characters`` of prompts and summaries, and what is ``lost`` in them.

        ``template`` contains the characters that are lost in the template itself.
        """
        found: dict[str, Any] = {"template": self._lost_of_template()}
        for kind, counts in self._counts.items():
            found[kind] = {
                "texts": self._texts[kind],
                "characters": self._characters[kind],
                "lost": {name: asdict(tally) for name, tally in sorted(counts.items())},
            }
        return found

    def _lost_of_template(self) -> str:
        template = self._encoder.rendering.prompt("", ())
        return "".join(dict.fromkeys("".join(self._lost_runs(template, typed=False)[0])))

    def _hidden(self, tokens: Sequence[int]) -> list[str]:
        """Return the special tokens of a summary that decoding omits."""
        of_data = self._encoder.control.of_data
        return [of_data[at] for at in sorted(of_data.keys() & set(tokens))] if of_data else []

    def _tally(self, kind: str, name: str) -> Tally:
        return self._counts[kind].setdefault(name, Tally())

    def _control(self, kind: str, identity: str, text: str) -> None:
        self._tally(kind, "control").add(identity, ", ".join(self._encoder.control.in_text(text)) or "in another form")

    def _unwritten(self, kind: str, identity: str, text: str, typed: bool) -> None:
        """Count the characters that unknown tokens replace, or that are dropped."""
        lost, tokens = self._lost_runs(text, typed)
        if lost:
            self._tally(kind, "unknown").add(
                identity, "".join(dict.fromkeys("".join(lost))), tokens, sum(map(len, lost))
            )

    def _lost_runs(self, text: str, typed: bool) -> tuple[list[str], int]:
        """Return the lost pieces of a text and the number of unknown tokens."""
        if self._unknown is not None:
            ids, offsets = self._encoder.offsets_of(text, typed)
            runs = [
                text[start:end].strip() for at, (start, end) in zip(ids, offsets, strict=True) if at == self._unknown
            ]
            return runs, len(runs)
        # Offsets do not help here: dropped characters shift those of the rest.
        lost = self._dropped if self._drops and self._is_suspicious(text) else ()
        return [one for one in text if one in lost and not _is_blank(one)], 0

    def _is_suspicious(self, text: str) -> bool:
        """Return whether a text has characters that may be lost; most texts have none and need not be decoded."""
        if "  " in text:
            return True
        characters = set(text)
        if characters <= self._kept:
            return False
        new = sorted(characters - self._kept - self._not_kept)
        decoded = self._decoded([self._encoder.offsets_of(f"a{one}a", typed=False)[0] for one in new])
        for one, found in zip(new, decoded, strict=True):
            (self._kept if found.strip() == f"a{one}a" else self._not_kept).add(one)
            if found.strip() == "aa":
                self._dropped.add(one)
        return not characters <= self._kept

    def _decoded(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts that a model's output with these ids decodes to."""
        if not rows:
            return []
        found: list[str] = self._encoder.tokenizer.batch_decode([list(row) for row in rows], skip_special_tokens=True)
        return found


def losses(text: str, decoded: str) -> list[tuple[Loss, str]]:
    """Return the kinds of differences between a text and its decoded tokens, each with what is lost.

    White space at the ends does not count.
    """
    text, decoded = text.strip(), decoded.strip()
    if text == decoded:
        return []
    found: list[tuple[Loss, str]] = []
    if len(_LINE_ENDS.findall(text)) > len(_LINE_ENDS.findall(decoded)):
        found.append(("lines", "\n"))
    ours, theirs = " ".join(text.split()), " ".join(decoded.split())
    if ours == theirs:
        return found or [("spaces", "")]
    ours, theirs = ours.replace(" ", ""), theirs.replace(" ", "")
    if ours == theirs:
        return [*found, ("spacing", "")]
    original = ours
    steps: Sequence[tuple[Loss, Any]] = (("rewritten", _compatible), ("case", str.casefold), ("accents", _bare))
    for loss, simplified in steps:
        simpler, theirs = simplified(ours), simplified(theirs)
        if simpler == theirs:
            return [*found, (loss, _difference(original, decoded))]
        ours = simpler
    return [*found, ("dropped", _difference(original, decoded))]


def _compatible(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def _bare(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", text) if unicodedata.category(one) != "Mn")


def _difference(text: str, other: str) -> str:
    """Return the characters of ``text`` that ``other`` lacks, or all of ``text`` if it lacks none."""
    there = set(other)
    return "".join(dict.fromkeys(one for one in text if one not in there)) or text


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Mn")
