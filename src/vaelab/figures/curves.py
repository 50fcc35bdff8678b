"""Losses over epochs, and the KL of each latent dimension."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaelab.figures.style import (
    BLUE,
    CLASS_COLORS,
    NATS,
    ORANGE,
    SLATE,
    STONE,
    dimension_name,
    evenly_spaced,
    new_figure,
    style,
)

Column = Float[np.ndarray, "epochs"]
Curves = Mapping[str, Column]

_SPLITS = {"train": BLUE, "validation": ORANGE}
_PANELS = {
    "neg_elbo_nats": "Negative evidence lower bound",
    "generation_loss_nats": "Generation loss",
    "kl_loss_nats": "KL loss",
}


def loss_curves(
    history: Mapping[str, Column | Int[np.ndarray, "epochs"]],
    best_epoch: int | None = None,
    title: str = "Losses over training",
) -> Figure:
    """Draw the bound and its two parts over epochs, of both splits, from history's columns.

    `history` is history.csv: `epoch`, `train.generation_loss_nats` and so on, NaN where an epoch
    has no value. Without any of these, every column whose name ends in `loss` is drawn. The best
    epoch is the one of the lowest validation bound, unless it is given.

    Raises ValueError if there is nothing to draw.
    """
    panels = _panels(history)
    count = len(next(iter(history.values())))
    epochs = np.asarray(history.get("epoch", np.arange(1, count + 1)), np.float64)
    best = _best_epoch(epochs, panels) if best_epoch is None else best_epoch
    with style():
        figure = new_figure(title, 2.9)
        for index, (name, curves) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), index + 1, title=name, xlabel="epoch")
            _draw_curves(axes, epochs, curves)
            if best is not None:
                axes.axvline(best, color=SLATE, linewidth=0.9, linestyle=":", zorder=1)
        in_nats = set(panels) <= set(_PANELS.values())
        figure.axes[0].set_ylabel("nats per image" if in_nats else "loss")
        _draw_legend(figure, best)
    return figure


def kl_history_figure(
    epochs: Int[np.ndarray, "epochs"],
    kl_per_dimension_nats: Float[np.ndarray, "epochs latent"],
    title: str = "KL loss of each latent dimension over training",
) -> Figure:
    """Draw each dimension's KL over epochs: a curve each of few, a row of a heat map of many."""
    order = np.argsort(-kl_per_dimension_nats[-1], kind="stable")
    with style():
        few = len(order) <= len(CLASS_COLORS)
        figure = new_figure(title, 3.4 if few else 4.4)
        axes = figure.add_subplot(xlabel="epoch")
        draw = _draw_kl_curves if few else _draw_kl_map
        draw(
            axes,
            epochs,
            kl_per_dimension_nats[:, order],
            [dimension_name(j) for j in order.tolist()],
        )
    return figure


def kl_bars_figure(
    kl_per_dimension_nats: Float[np.ndarray, "latent"],
    active: Bool[np.ndarray, "latent"],
    title: str = "KL loss of each latent dimension, test split",
) -> Figure:
    """Draw each dimension's KL, highest first, active dimensions in color."""
    order = np.argsort(-kl_per_dimension_nats, kind="stable")
    kl, is_active = kl_per_dimension_nats[order], active[order]
    edges = np.arange(len(order) + 1) - 0.5
    kinds = {
        f"active: {is_active.sum()} of {len(order)}": (is_active, BLUE),
        "not active": (~is_active, STONE),
    }
    with style():
        figure = new_figure(f"{title}: {kl.sum():.1f} nats in all", 3.0)
        axes = figure.add_subplot(
            xlabel="latent dimension, highest KL first", ylabel="nats per image"
        )
        for label, (mask, color) in kinds.items():
            heights, label = np.where(mask, kl, 0.0), label if mask.any() else ""
            if len(order) > 64:
                axes.stairs(heights, edges, fill=True, color=color, label=label)
            else:
                axes.bar(edges[:-1] + 0.5, heights, 0.8, color=color, label=label)
        _label_dimensions(axes, [dimension_name(j) for j in order.tolist()])
        middle, half = (len(order) - 1) / 2, max(len(order) + 0.5, 6) / 2
        axes.set_xlim(middle - half, middle + half)
        axes.legend(loc="upper right")
    return figure


def _panels(history: Mapping[str, Column | Int[np.ndarray, "epochs"]]) -> dict[str, Curves]:
    """Group the columns by what they measure, then by split."""
    columns = {name: np.asarray(values, np.float64) for name, values in history.items()}
    for split in _SPLITS:
        parts = [columns.get(f"{split}.{part}_loss_nats") for part in ("generation", "kl")]
        if parts[0] is not None and parts[1] is not None:
            columns.setdefault(f"{split}.neg_elbo_nats", parts[0] + parts[1])
    standard = _group(columns, _PANELS)
    losses = [name.partition(".")[2] for name in columns if name.endswith("loss")]
    panels = standard or _group(columns, {name: name.replace(".", " ") for name in losses})
    if not panels:
        raise ValueError(f"no losses among these columns: {', '.join(columns)}")
    return panels


def _group(columns: Curves, panels: Mapping[str, str]) -> dict[str, Curves]:
    groups = {
        title: {s: columns[f"{s}.{name}"] for s in _SPLITS if f"{s}.{name}" in columns}
        for name, title in panels.items()
    }
    return {title: curves for title, curves in groups.items() if curves}


def _best_epoch(epochs: Column, panels: Mapping[str, Curves]) -> float | None:
    bound = panels.get(_PANELS["neg_elbo_nats"], {}).get("validation")
    if bound is None or np.isnan(bound).all():
        return None
    return float(epochs[np.nanargmin(bound)])


def _draw_curves(axes: Axes, epochs: Column, curves: Curves) -> None:
    for split, values in curves.items():
        finite = np.isfinite(values)
        marker = "o" if finite.sum() == 1 else None
        axes.plot(
            epochs[finite], values[finite], color=_SPLITS[split], label=split, marker=marker, ms=4
        )
    _set_limits(axes, np.concatenate([v[np.isfinite(v)] for v in curves.values()]))
    _set_epoch_ticks(axes, epochs, ticks=4)


def _set_limits(axes: Axes, values: Float[np.ndarray, "points"]) -> None:
    """Clip the axis above a few huge values, as in early epochs, and note the highest."""
    if not len(values):
        return
    low, typical, high = np.quantile(values, [0, 0.9, 1])
    limit = typical + 3 * (typical - low)
    if high > limit > low:
        axes.set_ylim(low - 0.05 * (limit - low), limit)
        text = f"↑ up to {high:,.0f}"
        options: Any = {
            "color": SLATE,
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
        }
        axes.text(0.97, 0.97, text, transform=axes.transAxes, ha="right", va="top", **options)


def _set_epoch_ticks(
    axes: Axes, epochs: Column | Int[np.ndarray, "epochs"], ticks: int = 9
) -> None:
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))


def _draw_legend(figure: Figure, best: float | None) -> None:
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    handles = {split: lines[split] for split in _SPLITS if split in lines}
    if best is not None:
        handles[f"best epoch: {best:.0f}"] = figure.axes[0].get_lines()[-1]
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles)
    )


def _draw_kl_curves(
    axes: Axes,
    epochs: Int[np.ndarray, "epochs"],
    kl: Float[np.ndarray, "epochs latent"],
    names: Sequence[str],
) -> None:
    marker = "o" if len(epochs) == 1 else None
    for values, name, color in zip(kl.T, names, CLASS_COLORS, strict=False):
        axes.plot(epochs, values, color=color, label=name, marker=marker, ms=4)
    _set_epoch_ticks(axes, epochs)
    axes.set_ylabel("nats per image")
    axes.set_ylim(bottom=0)
    axes.figure.legend(loc="outside right upper", title="highest KL first")


def _draw_kl_map(
    axes: Axes,
    epochs: Int[np.ndarray, "epochs"],
    kl: Float[np.ndarray, "epochs latent"],
    names: Sequence[str],
) -> None:
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(names) - 0.5, -0.5)
    top = float(np.quantile(kl.max(axis=1), 0.9))
    image = axes.imshow(
        kl.T,
        aspect="auto",
        extent=extent,
        cmap=NATS,
        vmin=0,
        vmax=top or 1.0,
        interpolation="nearest",
    )
    axes.grid(False)
    _set_epoch_ticks(axes, epochs)
    shown = evenly_spaced(len(names), 24)
    axes.set_yticks(shown, [names[j] for j in shown])
    axes.set_ylabel("latent dimension, highest final KL first")
    axes.figure.colorbar(
        image, label="nats per image", aspect=40, extend="max" if kl.max() > top else "neither"
    )


def _label_dimensions(axes: Axes, names: Sequence[str]) -> None:
    shown = evenly_spaced(len(names), 24)
    axes.set_xticks(shown, [names[j] for j in shown])
    axes.grid(False, axis="x")
