"""A field of a model whose memory can be made to end wherever it takes some."""

import weakref

import torch

from helpers import tiny

PROMPT, RESPONSE = tiny.ids(9, seed=1), tiny.ids(3, seed=2)
GIVEN = {"input_ids": PROMPT, "response_ids": RESPONSE}
#: As torch says it on an accelerator, by either class. Made anew, since an error holds its frames.
ENDS = [
    lambda kind=kind: kind("CUDA out of memory. Tried to allocate 2.00 GiB.")
    for kind in (RuntimeError, torch.OutOfMemoryError)
]


class Events:
    """Counts forwards, pullbacks and directions of fields, and lets memory end in one of them.

    Args:
        fail_at: the number of that event, or ``None``.
        error: makes what is raised then.
    """

    def __init__(self, fail_at=None, error=None):
        self.fail_at = fail_at
        self.error = error
        self.rows = []
        self.failed = None
        self._held = []

    def happened(self, tensor, rows=None):
        """Note an event that has made a tensor, and fail with the tensor still in use."""
        rows = len(tensor) if rows is None else rows
        if self.failed is not None and self._held:
            assert not [held for held in self._held if held() is not None], "the attempt lives on"
            self._held = []
        self.rows.append(rows)
        if len(self.rows) - 1 == self.fail_at:
            self.failed = rows
            self._held = [weakref.ref(tensor), weakref.ref(tensor.untyped_storage())]
            raise self.error()


def rows_at_once(events):
    return max(events.rows)
