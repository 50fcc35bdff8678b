"""Images as people have them: besides arrays, pictures, files and folders; and their labels."""

import io
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from vaelab.config import MachineSettings, UserError, reason
from vaelab.config.choices import unknown_message
from vaelab.data.array_files import read_headers
from vaelab.data.listing import Listing, list_files, some_of
from vaelab.data.pixels import Color, Resize, Size, decode, to_pixels
from vaelab.inference.inputs import image_batch, number_array
from vaelab.models.conditional import UNKNOWN
from vaelab.models.networks import Shape

ARRAY_FILE, ARRAY_FILES = ".npy", (".npy", ".npz")
CHANNELS = (1, 3)


class ImageSizesError(UserError):
    """Images to train on have more than one size, or a picture's is not that of the model."""


def read_images(values: object, shape: Shape) -> Float[Tensor, "count channel height width"]:
    """Return images in [0, 1] of a model's shape [channel, height, width], on the CPU.

    One or many: arrays, tensors, pictures of Pillow, paths of files, or of a folder. Pictures
    become gray or RGB, as the model's images are. Raises UserError for what is none of these, for
    another shape, and for a range that cannot be right.
    """
    items = image_items(values)
    if items is None:
        return image_batch(values, shape)
    return torch.cat([read_item(item, shape) for item in items])


def training_pixels(
    values: object, size: Size | None = None, resize: str = "crop"
) -> UInt8[np.ndarray, "count channel height width"]:
    """Return images of any one shape as 8-bit pixels, gray or RGB. Raises UserError.

    Pictures are resized to a height and width if `size` is given.
    """
    items = image_items(values)
    if items is not None and len(items) == 1 and _is_array_file(items[0]):
        with _named(items[0]):
            return training_pixels(read_array(Path(items[0]).expanduser()))  # type: ignore[arg-type]
    if items is not None:
        values = _arrays_of(items, size, resize)
    array = number_array(values, "images")
    pixels = image_batch(array, _shape_of(array))
    return (pixels * 255).round().to(torch.uint8).numpy()


def device_settings(device: str) -> MachineSettings:
    """Return the settings of a device by its name. Raises UserError."""
    try:
        return MachineSettings(device=device)
    except ValidationError as error:
        raise UserError(
            f"unknown device {device!r}; valid: auto, cpu, mps, cuda, cuda:1"
        ) from error


def label_numbers(
    labels: object, count: int, classes: int, names: Sequence[str] = ()
) -> Int64[Tensor, "count"]:
    """Return `count` labels from 0 to `classes` - 1, or -1 for unknown ones.

    One for all, or one each; numbers, or names. Raises UserError.
    """
    single = isinstance(labels, str) or not np.ndim(np.asarray(labels))
    found = [_number(label, classes, names) for label in ([labels] if single else list(labels))]  # type: ignore[call-overload]
    if single:
        found *= count
    if len(found) != count:
        raise UserError(f"{len(found)} labels for {count} images: wanted one, or one each")
    return torch.tensor(found, dtype=torch.int64)


def one_label(label: object, classes: int, names: Sequence[str] = ()) -> int:
    """Return the number of a class, given by number or name. Raises UserError."""
    number = int(label_numbers(label, 1, classes, names))
    if number == UNKNOWN:
        raise UserError(f"label {UNKNOWN} is unknown: wanted a class, from 0 to {classes - 1}")
    return number


def _number(label: object, classes: int, names: Sequence[str]) -> int:
    if isinstance(label, str):
        if label not in names:
            raise UserError(unknown_message("label", label, names or [f"0 to {classes - 1}"]))
        return names.index(label)
    try:
        number = int(label)  # type: ignore[call-overload]
        is_whole = number == label
    except (TypeError, ValueError):
        is_whole = False
    if not is_whole or not UNKNOWN <= number < classes:
        raise UserError(f"label {label} is out of range: 0 to {classes - 1}, or -1 where unknown")
    return int(number)


def image_items(values: object) -> list[object] | None:
    """Return the pictures and files among `values`; None for what is an array."""
    if isinstance(values, str | os.PathLike):
        path = Path(values).expanduser()
        return [path] if not path.is_dir() else [*list_images(path).files]
    if isinstance(values, Image.Image):
        return [values]
    if isinstance(values, list | tuple) and any(
        isinstance(item, str | os.PathLike | Image.Image) for item in values
    ):
        return [*values]
    return None


def list_images(folder: Path) -> Listing:
    """List the image files below a folder, sorted by path. Raises UserError for none."""
    Image.init()
    listing = list_files(folder, Image.EXTENSION.keys())
    if not listing.files:
        raise UserError(f"{folder}: holds no images")
    return listing


def read_item(
    item: object, shape: Shape, resize: str | None = None
) -> Float[Tensor, "count channel height width"]:
    """Return the images of a file, a picture or an array, pictures resized if that is said how.

    Raises UserError, with the name of the file.
    """
    if not isinstance(item, str | os.PathLike | Image.Image):
        return image_batch(item, shape)
    with _named(item):
        if _is_array_file(item):
            return image_batch(read_array(Path(item).expanduser()), shape)  # type: ignore[arg-type]
        picture = read_picture(item)
        if resize is not None:
            color: Color = "grey" if shape[0] == 1 else "rgb"
            return image_batch(to_pixels(picture, color, shape[1:], cast(Resize, resize)), shape)
        if (picture.height, picture.width) != shape[1:]:
            raise ImageSizesError(
                f"a picture of {picture.width}x{picture.height} pixels: the model's images have "
                f"{shape[2]}x{shape[1]}"
            )
        return image_batch(picture.convert("L" if shape[0] == 1 else "RGB"), shape)


@contextmanager
def _named(item: object) -> Iterator[None]:
    """Raise UserError, with the name of the file, for what cannot be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        problem = str(error) if isinstance(error, UserError) else reason(error)
        is_path = isinstance(item, str | os.PathLike)
        kind = ImageSizesError if isinstance(error, ImageSizesError) else UserError
        raise kind(f"{item}: {problem}" if is_path else problem) from error


def _is_array_file(item: object) -> bool:
    return isinstance(item, str | os.PathLike) and Path(item).suffix in ARRAY_FILES


def _arrays_of(items: list[object], size: Size | None, resize: str) -> list[np.ndarray]:
    """Return pictures as arrays, all gray if each is, else RGB."""
    pictures = []
    for item in items:
        with _named(item):
            pictures.append(read_picture(item))
    color: Color = "grey" if all(picture.mode == "L" for picture in pictures) else "rgb"
    arrays = [
        to_pixels(p, color, size or (p.height, p.width), cast(Resize, resize)) for p in pictures
    ]
    if len(sizes := {array.shape for array in arrays}) > 1:
        raise ImageSizesError(
            f"images of {len(sizes)} sizes, such as {_sizes(sizes)}: wanted one size of all"
        )
    return arrays


def _sizes(shapes: Collection[tuple[int, ...]]) -> str:
    """Return some sizes as width x height."""
    return some_of([f"{width}x{height}" for _, height, width in sorted(shapes)])


def read_array(path: Path) -> np.ndarray:
    """Return the images of an .npy file, or those of an .npz file. Raises UserError."""
    if path.suffix == ARRAY_FILE:
        array: np.ndarray = np.load(path, allow_pickle=False)
        return array
    arrays = [array for array in read_headers(path) if array.is_images]
    named = [array for array in arrays if array.key == "images"] if len(arrays) > 1 else arrays
    if len(named) != 1:
        found = f" ({some_of([array.name for array in arrays])})" if arrays else ""
        raise UserError(
            f"holds {'several arrays' if arrays else 'no array'} of images{found}: "
            "name one of them images"
        )
    return named[0].values


def read_picture(item: object) -> Image.Image:
    """Return a picture of mode L or RGB, upright and opaque. Raises UserError."""
    if isinstance(item, str | os.PathLike):
        if not Path(item).expanduser().is_file():
            raise UserError("no such file")
        try:
            return decode(Path(item).expanduser())
        except Exception as error:  # Pillow's plugins raise any exception on a broken file
            raise UserError(f"cannot be read as an image: {reason(error)}") from error
    if isinstance(item, Image.Image):
        return item if item.mode in ("L", "RGB") else _converted(item)
    return Image.fromarray(np.asarray(item))


def _converted(picture: Image.Image) -> Image.Image:
    """Return a picture of mode L or RGB, converted as if it came from a file."""
    file = io.BytesIO()
    try:
        picture.save(file, "PNG", compress_level=0)
    except OSError as error:
        message = f"a picture of mode {picture.mode}: convert it, with .convert('L') or 'RGB'"
        raise UserError(message) from error
    return decode(file)


def _shape_of(array: np.ndarray) -> Shape:
    """Return [channel, height, width] of images whose model is not known yet."""
    shape = array.shape
    if array.ndim == 3:
        return (1, shape[1], shape[2])
    if array.ndim == 4 and shape[1] in CHANNELS:
        return (shape[1], shape[2], shape[3])
    if array.ndim == 4 and shape[3] in CHANNELS:
        return (shape[3], shape[1], shape[2])
    raise UserError(
        f"images of shape {list(shape)} cannot be trained on: wanted [count, height, width], "
        "[count, height, width, channel] or [count, channel, height, width], with 1 or 3 channels"
    )
