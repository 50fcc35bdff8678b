"""What every group of settings has in common."""

import textwrap
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

# Beyond 32 bits PyTorch and NumPy overflow before they run out of memory.
MOST = 2**31 - 1
Positive = Annotated[int, Field(ge=1, le=MOST)]
NotNegative = Annotated[int, Field(ge=0, le=MOST)]
Width = Annotated[int, Field(ge=1, le=65536)]
"""Of a layer: two of them make no more weights than can be asked for."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class UserError(ValueError):
    """Something from outside is wrong; the message says what would be right."""


def reason(error: Exception) -> str:
    """Say in part of a line why a file from outside cannot be used."""
    if isinstance(error, ValidationError):
        said = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]]
        return textwrap.shorten("; ".join(said).removeprefix(": "), 300)
    if isinstance(error, OSError) and error.strerror:
        where = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return f"{where}{error.strerror}"
    return textwrap.shorten(str(error), 300) or type(error).__name__


class Section(BaseModel):
    """A group of settings: immutable, finite, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: object, info: Any) -> object:
        wants_bool = cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not wants_bool:
            raise ValueError("true and false are no values of this setting")
        return value
