"""The base class of every group of settings, and types of values with their ranges."""

import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

# Larger numbers overflow in PyTorch and NumPy before they run out of memory.
MAX_INT = 2**31 - 1
MAX_REASON_LENGTH = 300


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd, so that a stride of 2 halves the image exactly")
    return value


Positive = Annotated[int, Field(ge=1, le=MAX_INT)]
NotNegative = Annotated[int, Field(ge=0, le=MAX_INT)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Width = Annotated[int, Field(ge=1, le=65536)]
"""Units or channels of a layer."""
Widths = tuple[Width, ...]
KernelSize = Annotated[int, Field(ge=1, le=31), AfterValidator(_odd)]
CodebookSize = Annotated[int, Field(ge=2, le=65536)]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"]


class UserError(ValueError):
    """A wrong setting, file or environment; the message says what would be right."""


class ArtifactError(UserError):
    """A file or folder made by an earlier step is missing, damaged, or does not fit the others."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


def reason(error: Exception) -> str:
    """Return in at most 300 characters why a file cannot be used."""
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]]
        return textwrap.shorten("; ".join(problems).removeprefix(": "), MAX_REASON_LENGTH)
    if isinstance(error, OSError) and error.strerror:
        where = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return f"{where}{error.strerror}"
    return textwrap.shorten(str(error), MAX_REASON_LENGTH) or type(error).__name__


class Section(BaseModel):
    """A group of settings: immutable, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: object, info: Any) -> object:
        wants_bool = cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not wants_bool:
            raise ValueError("true and false are not valid here")
        return value
