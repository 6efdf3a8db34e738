"""A bounded queue between two threads, of which either may end it, with an error or without."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: seconds after which a thread that waits comes to Python again, so that an exception thrown into it arrives
_BREATH: Final = 0.2


class ChannelClosedError(Exception):
    """The other side wants nothing more."""


class Channel(Generic[T]):
    """Items from one thread to another, in order.

    The reader sees an error of the writer at once, without the items before it: they would be thrown away anyway.

    Args:
        size: how many items wait at most; the writer waits while there are as many.
        on_wait: called by the reader now and then while it waits; what it raises comes out there.
    """

    def __init__(self, size: int, on_wait: Callable[[], None] = lambda: None) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._on_wait = on_wait
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Hand over an item.

        Raises:
            ChannelClosedError: the other side has closed the channel.
            BaseException: the error that it has closed it with.
        """
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                self._changed.wait(_BREATH)
            self._raise_error()
            if self._closed:
                raise ChannelClosedError
            self._items.append(item)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more follows, or is wanted. What is there can still be read, unless there is an error."""
        with self._changed:
            self._error = self._error or error
            self._closed = True
            if self._error is not None:
                self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Items until the writer closes the channel. Raises the error that it closed it with."""
        while True:
            with self._changed:
                if not self._items and not self._closed:
                    self._changed.wait(_BREATH)
                self._raise_error()
                found = [self._items.popleft()] if self._items else []
                if not found and self._closed:
                    return
                self._changed.notify_all()
            if not found:
                self._on_wait()
            yield from found

    def check(self) -> None:
        """Raise the error that the channel was closed with, if it was."""
        with self._changed:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
