"""`amusd chat`: a conversation with a server, in the terminal."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from amusd.cli.screens import Screen, choose_screen
from amusd.client import Client
from amusd.errors import AmusdError
from amusd.outputs import RequestOutput
from amusd.params import SamplingParams
from amusd.wishes import Wishes

HELP = "/new begins another conversation, /exit or Ctrl-D leaves; Ctrl-C ends an answer"


@dataclass(slots=True)
class Conversation:
    """What was said, and where the next answer comes from."""

    client: Client
    params: SamplingParams
    system: str | None
    wishes: Wishes
    messages: list[dict[str, str]] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was said."""
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]

    def ask(self, text: str, screen: Screen) -> None:
        """Say something and show the answer; what fails, or is left early, was not said.

        Raises:
            AmusdError: the server refused or failed.
        """
        said = [*self.messages, {"role": "user", "content": text}]
        output: RequestOutput | None = None
        prompt = self.client.chat_prompt(said)
        for chunk in self.client.stream(prompt, self.params, **self.wishes.to_dict()):
            screen.show(chunk)
            output = chunk.finished
        assert output is not None, "a stream ends with the finished request"
        screen.finish(output)
        self.messages = [*said, {"role": "assistant", "content": output.text}]


def run(
    address: str,
    token: str | None,
    tls: str | None,
    params: SamplingParams,
    system: str | None,
    wishes: Wishes,
) -> None:
    """Read lines until there are no more, and answer each.

    Args:
        tls: "system", or the path of a PEM file with certificate authorities; None is a plain connection.

    Raises:
        AmusdError: the server cannot be reached or has no chat template; what goes wrong later is shown.
    """
    trusted = True if tls == "system" else tls or False
    with Client(address, token=token, tls=trusted) as client:
        info = client.info()
        screen = choose_screen(as_json=False, rule=info["rule"])
        client.chat_prompt("a")  # a server that cannot chat is told apart before anything is typed
        screen.tell(f"{info['model']} at {address}. {HELP}")
        conversation = Conversation(client, params, system, wishes)
        conversation.begin()
        for line in _lines():
            if line == "/exit":
                return
            if line == "/new":
                conversation.begin()
                continue
            try:
                conversation.ask(line, screen)
            except KeyboardInterrupt:
                screen.tell("")
            except AmusdError as error:
                screen.tell(f"amusd: {error}")


def _lines() -> Iterator[str]:
    """What is typed or piped in, without empty lines; Ctrl-C on an empty line is no end."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            yield line
