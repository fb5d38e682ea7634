"""What is found wrong with a recording while it is decoded, and whether that is borne."""

import logging
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

logger = logging.getLogger(__name__)

Damage: TypeAlias = Literal["refuse", "cut", "keep"]
"""Which damage is borne: none; a recording that ends before its time; or any, damaged places being left out,
or silent where a container keeps the times of what follows."""

CUT_S = 0.3  # headers and decoders differ by less about where a recording ends


@dataclass
class Condition:
    """Raises ValueError at damage that is not borne; tells the log of what is."""

    name: str
    damage: Damage = "cut"
    is_damaged: bool = field(default=False, init=False)

    def damaged(self, at_s: float) -> None:
        """Note that something could not be decoded."""
        where = f"{self.name} is damaged at {at_s:.1f} s"
        if self.damage != "keep":
            raise ValueError(f'{where}; to use what can be read of it, ask for that (damage="keep", or --damaged)')
        if not self.is_damaged:
            logger.warning("%s; what can be read is used", where)
        self.is_damaged = True

    def ended(self, heard_s: float, announced_s: float | None, *, is_cut: bool = False) -> None:
        """Note that all was decoded, how long the header says that the recording is, and that the file was cut off."""
        if self.is_damaged:
            return
        if announced_s is not None and heard_s < announced_s - CUT_S:
            self.cut(f"{self.name} is not complete: {heard_s:.1f} s are there of {announced_s:.1f} s that it announces")
        elif is_cut:
            self.cut(f"{self.name} is not complete: {heard_s:.1f} s are there, where the file breaks off")

    def cut(self, what: str) -> None:
        """Note that the recording ends before its time."""
        if self.damage == "refuse":
            raise ValueError(what)
        logger.warning("%s", what)
