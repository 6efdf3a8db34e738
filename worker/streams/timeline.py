"""The most of each label at the same time, over a time that nobody knows the length of."""

from collections.abc import Mapping
from typing import Final

from shared.videos import Timeline

#: what a page can still plot; a bin lasts twice as long when there are more
_MOST_BINS: Final = 300
#: labels that are kept: those seen first
_MOST_LABELS: Final = 100


class GrowingTimeline:
    """Takes less than a fixed amount of memory, however long it goes on.

    Args:
        known: what was noted before.
    """

    def __init__(self, known: Timeline | None = None) -> None:
        self._width = known.seconds if known is not None else 1.0
        self._most = {label: list(values) for label, values in known.most.items()} if known is not None else {}
        self._bins = max((len(values) for values in self._most.values()), default=0)

    def add(self, seconds: float, counts: Mapping[str, int]) -> None:
        """Note what is to be seen at a time after the beginning."""
        while seconds >= self._width * _MOST_BINS:
            self._width *= 2
            self._most = {label: _halved(values) for label, values in self._most.items()}
            self._bins = (self._bins + 1) // 2
        place = int(seconds / self._width)
        self._bins = max(self._bins, place + 1)
        for label, count in counts.items():
            values = self._most.get(label)
            if values is None:
                if len(self._most) >= _MOST_LABELS:
                    continue
                values = self._most[label] = []
            values.extend([0] * (place + 1 - len(values)))
            values[place] = max(values[place], count)

    def document(self) -> Timeline:
        """What was noted."""
        most = {label: values + [0] * (self._bins - len(values)) for label, values in self._most.items()}
        return Timeline(seconds=self._width, most=most)


def _halved(values: list[int]) -> list[int]:
    return [max(values[place : place + 2]) for place in range(0, len(values), 2)]
