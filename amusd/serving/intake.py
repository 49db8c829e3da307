"""Prompts from outside: read off the event loop, and refused before they cost anything."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from amusd.batches import Prompt
from amusd.errors import InputError
from amusd.prompts import PromptReader


class Intake:
    """Tokenizes for a server, one prompt at a time, on a thread of its own.

    Args:
        reader: of the engine's models.
        template: a chat template to use in place of the tokenizer's.
    """

    def __init__(self, reader: PromptReader, template: str | None = None) -> None:
        self.reader = reader
        if template is not None:
            reader.tokenizer.chat_template = template
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="amusd-tokenizer")
        # No text of more characters can fit: not even if all of its tokens were the longest there is.
        self._characters_max = max(map(len, reader.tokenizer.get_vocab())) * reader.length_max

    async def read(self, prompt: Prompt) -> tuple[str | None, list[int]]:
        """A prompt's text, where it is one, and its token ids.

        Raises:
            InputError: as `PromptReader.read` does, and for a text that is far too long.
        """
        if not isinstance(prompt, str):
            return None, self.reader.read(prompt)
        self._check_length("prompt", len(prompt))
        return prompt, await self._on_thread(partial(self.reader.read, prompt))

    async def read_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The token ids of a conversation.

        Raises:
            InputError: as `PromptReader.read_messages` does, and for one that is far too long.
        """
        self._check_length("messages", sum(len(message["content"]) for message in messages))
        return await self._on_thread(partial(self.reader.read_messages, messages))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones included.

        Raises:
            InputError: a token is not of the vocabulary.
        """
        size = self.reader.vocabulary_size
        bad = next((token for token in tokens if not 0 <= token < size), None)
        if bad is not None:
            raise InputError("tokens", f"token {bad}", f"token ids are 0 to {size - 1}")
        return str(self.reader.tokenizer.decode(list(tokens)))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, work: "partial[list[int]]") -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _check_length(self, field: str, characters: int) -> None:
        if characters > self._characters_max:
            remedy = f"shorten it: prompt and output have {self.reader.length_max} tokens at most"
            raise InputError(field, f"{characters} characters", remedy)
