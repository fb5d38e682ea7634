"""What a model knows when it is typed to."""

from types import SimpleNamespace

from recipes.nano import listen
from recipes.nano.world.types import Talk, Turn

TOLD = Talk("recall-name", (Turn("My name is Anna.", "Hello, Anna."), Turn("What is my name?", "Anna.")), "anna")
ASKED = Talk("plural", (Turn("What is the plural of cat?", "The plural of cat is cats."),), "cats")


class Parrot:
    """Replies with the first thing that it was told."""

    def __init__(self) -> None:
        self.chats = []

    def answer(self, messages):
        self.chats.append([(message.role, message.content) for message in messages])
        return SimpleNamespace(text=f"you said: {messages[0].content.lower()}")


def test_typed_talks_are_judged_by_group_and_go_on_with_the_models_own_replies():
    parrot, talks = Parrot(), [("memory", TOLD), ("questions", ASKED), ("memory", TOLD)]
    assert listen.typed_talks(parrot, talks, 1) == {"memory": (1, 1), "questions": (0, 1)}
    first = [("user", "My name is Anna."), ("assistant", "you said: my name is anna."), ("user", "What is my name?")]
    assert parrot.chats == [first[:1], first, [("user", "What is the plural of cat?")]]
