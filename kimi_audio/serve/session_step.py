"""One step of a session while it is worked out: the state so far, and what is to be done so far."""

from dataclasses import replace
from typing import Any

from kimi_audio.serve.items import ConversationItem
from kimi_audio.serve.session_state import Action, Send, SessionState


class Refused(Exception):  # noqa: N818 - it is not an error of the program
    """A wish of the client that is not granted, and why."""

    def __init__(self, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class Step:
    """Collects changes and actions."""

    def __init__(self, state: SessionState, now_s: float) -> None:
        self.state, self.now_s = state, now_s
        self.actions: list[Action] = []

    def set(self, **changes: Any) -> None:
        """Change the state."""
        self.state = replace(self.state, **changes)

    def act(self, action: Action) -> None:
        """Want something done."""
        self.actions.append(action)

    def new_id(self, kind: str) -> str:
        """Return an id that no other thing of any session has."""
        taken = {item.id for item in self.state.items}  # by the client
        while True:
            self.set(count=self.state.count + 1)
            new = f"{kind}_{self.state.id.removeprefix('sess_')}{self.state.count:05d}"
            if new not in taken:
                return new

    def send(self, type: str, **values: Any) -> None:
        """Tell the client."""
        self.act(Send({"type": type, "event_id": self.new_id("event")} | values))

    def error(self, message: str, code: str, *, param: str | None = None, event_id: str | None = None) -> None:
        """Tell the client that something it wanted was not done; the session goes on."""
        error = {"type": "invalid_request_error", "code": code, "message": message}
        self.send("error", error=error | {"param": param, "event_id": event_id})

    # -----------------------------------------------------------------------------------------------------------------
    # Items

    @property
    def last_item_id(self) -> str | None:
        """The item at the end of the conversation."""
        return self.state.items[-1].id if self.state.items else None

    def find_item(self, item_id: str) -> ConversationItem:
        """Return an item.

        Raises:
            Refused: there is none.
        """
        for item in self.state.items:
            if item.id == item_id:
                return item
        raise Refused(f"There is no item {item_id[:100]!r} in the conversation.", "item_not_found", "item_id")

    def add_item(self, item: ConversationItem, previous_id: str | None = None) -> None:
        """Put an item into the conversation, by default at its end, and tell the client.

        Raises:
            Refused: the conversation has an item of that id already, or not the one to go behind.
        """
        items = self.state.items
        if any(item.id == other.id for other in items):
            raise Refused(f"There is an item {item.id[:100]!r} already.", "item_exists", "item.id")
        place = len(items)
        if previous_id == "root":
            place, previous_id = 0, None
        elif previous_id is not None:
            place = items.index(self.find_item(previous_id)) + 1
        elif items:
            previous_id = items[-1].id
        self.set(items=(*items[:place], item, *items[place:]))
        self.send("conversation.item.added", previous_item_id=previous_id, item=item.wire())

    def item_done(self, item: ConversationItem) -> None:
        """Tell the client that an item is complete."""
        ids = [one.id for one in self.state.items]
        place = ids.index(item.id)
        previous_id = ids[place - 1] if place else None
        self.send("conversation.item.done", previous_item_id=previous_id, item=item.wire())

    def replace_item(self, item: ConversationItem) -> None:
        """Put another version in the place of an item, if it is still there."""
        self.set(items=tuple(item if item.id == other.id else other for other in self.state.items))
