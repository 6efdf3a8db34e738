"""Why a job failed, in public words, and whether to try again makes sense."""

from typing import Final

from shared.errors import PublicError, TransientError
from shared.jobs import ErrorInfo
from worker.resident.interruptions import LimitReachedError

OUT_OF_MEMORY: Final = ErrorInfo(code="out_of_memory", message="This file needs more memory than a worker has.")
#: how native code says it: C++, OpenCV, TensorFlow; of a GPU TensorFlow and JAX, JAX, PyTorch
_NO_MEMORY: Final = (
    "std::bad_alloc",
    "Insufficient memory",
    "OOM when allocating",
    "Out of memory while trying to allocate",
    "RESOURCE_EXHAUSTED",
    "CUDA out of memory",
)


def worth_waiting(error: BaseException | None) -> bool:
    """Whether a part of the service is to blame that comes back by itself, or when its operator has made room."""
    return isinstance(error, TransientError) or (isinstance(error, PublicError) and error.code == "storage_full")


def public_error(error: BaseException | None) -> ErrorInfo:
    """What a person is told of an exception. Nothing of ours (paths, code) is in it."""
    if isinstance(error, PublicError):
        return ErrorInfo(code=error.code, message=error.message)
    if isinstance(error, LimitReachedError):
        return ErrorInfo(code="timeout", message="This file took longer than a job may take.")
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
        return OUT_OF_MEMORY
    return ErrorInfo(code="internal", message="Something went wrong on our side. The operator can see it in the log.")
