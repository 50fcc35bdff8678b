"""The page: all numbers are shown, it is accessible, and it needs no network."""

import base64
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.report.factories import description, info, made_up, real
from vaelab.config import ModelSettings
from vaelab.figures.style import BLUE, INK, ORANGE, SLATE, STONE
from vaelab.metrics import METRICS, of_sampler
from vaelab.report import EvaluationResult, build_page
from vaelab.report.embed import DARK
from vaelab.report.figures import report_figures
from vaelab.report.not_measured import not_measured
from vaelab.report.rows import rows, summary
from vaelab.report.sections import SECTIONS


@pytest.mark.parametrize("name", ["vae", "gan", "autoencoder", "vq_vae", "vae_gan"])
def test_all_numbers_of_an_evaluation_are_shown(name):
    result = real(name)
    shown = [row for section in SECTIONS for row in rows(result, section.metrics)]
    # Errors and references are in the row of their value.
    secondary = re.compile(r"_standard_error(_|$)|_floor$|_real$|_chance$|_mean_image$")
    measured = {
        f"{group}.{key}"
        for group, values in result.metrics.items()
        for key, value in values.items()
        if group != "dataset" and not isinstance(value, str) and not secondary.search(key)
    }
    # Of a quantity of samples from the prior and from the sampler there is one row.
    measured = {name for name in measured if of_sampler(name) not in measured}
    assert {each.name for each in shown} == measured
    for each in shown:
        text = each.interpretation.text
        assert text.endswith("."), text
        assert text[0].isupper() or text[0].isdigit() or text[0] == "−", text
        assert "nan" not in text
        assert "None" not in text
        assert each.interpretation.rating in ("good", "fair", "poor", "none")
    assert 5 <= len(summary(result)) <= 8


class Page(HTMLParser):
    """A parsed page; the parser checks that tags are closed in order."""

    VOID = {"meta", "img", "path", "circle", "wbr"}

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), f"{tag} has the same attribute twice"
        self.tags.append((tag, given))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


PAGES: dict[str, str] = {}


def page(name: str) -> str:
    """The page of an untrained model, built once."""
    if name not in PAGES:
        PAGES[name] = build_page(real(name))
    return PAGES[name]


def bare(result: EvaluationResult) -> Page:
    """The page of an evaluation without arrays."""
    return Page(build_page(replace(result, arrays={}, dimensions={}, means=None)))


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_page_is_html_that_loads_nothing(name):
    text = page(name)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    found = Page(text)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not re.search(r"https?:|@import|url\(|\son\w+=", text)
    targets = [value for _, given in found.tags for key, value in given.items() if key == "src"]
    assert targets
    assert all(target.startswith("data:image/") for target in targets)
    ids = [given["id"] for _, given in found.tags if "id" in given]
    assert len(set(ids)) == len(ids)
    for given in found.all("a"):
        assert given["href"].removeprefix("#") in ids
    for _, given in found.tags:
        assert given.get("aria-labelledby", ids[0]) in ids


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_page_is_accessible(name):
    found = Page(page(name))
    for given in found.all("img"):
        assert given["alt"]
    assert all(given["scope"] in ("col", "row") for given in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    # A rating is a word too, not only a color.
    for section in SECTIONS:
        for each in rows(real(name), section.metrics):
            if name == "gan" and each.name == "latent.dimensions":
                continue  # no section consists of it
            words = f"{each.interpretation.rating} " if each.interpretation.rating != "none" else ""
            assert f"{words}{each.interpretation.text}".replace("\u00a0", " ") in found.text


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_tables_are_rectangles(name):
    cells: list[int] = []
    lines: list[int] = []
    for tag, given in Page(page(name)).tags:
        if tag == "table":
            cells, lines = [*cells, 0], [*lines, 0]
        if tag == "tr":
            lines[-1] += 1
        if tag in ("th", "td"):
            cells[-1] += int(given.get("rowspan", 1))
    assert cells == [4 * count for count in lines]
    assert len(cells) >= 2


def svgs(found: Page, version: str) -> list[str]:
    sources = [given["src"] for given in found.all("img") if given.get("class") == version]
    return [base64.b64decode(source.partition(",")[2]).decode() for source in sources]


def test_figures_have_a_light_and_a_dark_version_and_load_nothing():
    found = Page(page("vae"))
    light, dark = svgs(found, "light"), svgs(found, "dark")
    assert len(light) == len(dark) == len(found.all("figure")) > 10
    kept = [figure.keep_light_background for figure in report_figures(real("vae"))]
    for light_svg, dark_svg, keeps_light in zip(light, dark, kept, strict=True):
        ElementTree.fromstring(light_svg)
        assert "#ffffff" in light_svg
        assert ("#ffffff" in dark_svg) == ("#1f2933" in dark_svg) == keeps_light
        references = re.findall(r'(?:href|src)="([^"]*)"', light_svg)
        assert all(target.startswith(("#", "data:image/png")) for target in references)
    size = {given["width"] for given in found.all("img") if "width" in given}
    assert all(int(width) > 100 for width in size)


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.2."""
    channels = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_colors_have_contrast_on_a_light_and_on_a_dark_background():
    for color in (BLUE, ORANGE, STONE, INK, SLATE):
        assert contrast(color, "#ffffff") >= 3, color
        assert contrast(DARK.get(color, color), DARK["#ffffff"]) >= 3, color


def test_figures_whose_colors_stand_for_values_keep_their_background():
    figures = report_figures(real("vae"))
    kept = {figure.name for figure in figures if figure.keep_light_background}
    assert kept == {"scatter", "factors"}


def test_a_page_says_what_its_errors_are():
    found = Page(page("vae"))
    assert "± is one standard error of the mean over images" in found.text


def test_the_same_evaluation_results_in_the_same_page():
    result = real("gan")
    assert build_page(result) == page("gan")


def test_a_vae_has_every_section():
    found = Page(page("vae"))
    ids = {given["id"] for given in found.all("h2")}
    assert ids == {"pictures", "summary", "glossary", *(section.name for section in SECTIONS)}
    assert "Not measured" not in found.text
    assert "Findings" in found.text
    missing = {metric.title for metric in METRICS if metric.title not in found.text}
    assert missing == {"Observation variance", "Rounding of the K-sample bound"}


def test_a_gan_has_no_likelihood_section_but_says_why():
    found = Page(page("gan"))
    ids = {given["id"] for given in found.all("h2")}
    assert ids == {"pictures", "summary", "glossary", "bound", "samples"}
    assert "gan has no encoder, so no posterior to sample importance-weighted latents" in found.text
    assert (
        "The likelihood is estimated by annealed importance sampling, without an encoder."
        in found.text
    )
    assert "Likelihood by annealing" in found.text
    assert "Is the bound tight?" not in found.text
    assert "Active units" not in found.text, "the glossary has only what is shown"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("autoencoder", "the encoder returns points, not distributions"),
        ("vae_gan", "compares the features of a discriminator instead of pixels"),
    ],
)
def test_other_models_without_a_bound_say_why_and_show_reconstructions(name, why):
    found = bare(real(name))
    assert why in found.text
    assert "Reconstructions" in found.text
    assert "Squared error of reconstructions" in found.text


def test_other_missing_metrics_are_explained_too():
    flow = description(model=ModelSettings(latent_dim=4, prior="vamp"))
    result = made_up({"test.nll_nats": 1.0}, description=flow, info=info(class_names=None))
    found = bare(result)
    assert "the prior is vamp." in found.text
    assert "No metrics of classes: the images have no labels." in found.text
    assert "No bound" not in found.text


@pytest.mark.parametrize(
    ("numbers", "changes", "sentence"),
    [
        ({}, {"info": info(class_names=("a",))}, "No metrics of classes: all images have the same"),
        (
            {},
            {"description": description("vq_vae", model=ModelSettings(prior="codebook"))},
            "No annealed importance sampling: it needs continuous latents",
        ),
        ({}, {}, "No annealed importance sampling: evaluate.annealing_images was 0."),
        ({}, {}, "No metrics of samples: they need at least 6 training and 6 test images."),
        ({"annealing.nll_nats": 1.0}, {}, "-No annealed"),
        ({"samples.count": 6}, {}, "-No metrics of samples"),
        ({}, {}, "-No metrics of classes"),
    ],
)
def test_each_missing_kind_of_metric_is_named_once(numbers, changes, sentence):
    found = list(not_measured(made_up({"test.nll_nats": 1.0}, numbers, **changes)))
    count = sum(text.startswith(sentence.removeprefix("-")) for text in found)
    assert count == (not sentence.startswith("-"))


def test_the_facts_at_the_top_of_the_page():
    found = bare(made_up({"test.nll_nats": 1.0, "test.nll_importance_samples": 100}))
    for words in (
        "vae on digits",
        "Data digits, 8 × 8 pixels, 1 channel",
        "Images 300 for training, 300 for testing",
        "Objective vae",
        "Prior standard normal",
        "Network conv, 16–32",
        "Likelihood gaussian",
        "Latent size 4",
        "Epochs 3",
        "Importance samples 100",
    ):
        assert words in found.text
    assert "KL weight 1.0" in found.text
    other = made_up({"test.kl_loss_nats": 1.0}, objective_settings=frozenset())
    assert "KL weight" not in bare(other).text, "the objective does not use it"
    linear = description(model=ModelSettings(network="mlp", hidden=(), prior="standard_normal"))
    assert "Network mlp, linear" in bare(made_up({"test.nll_nats": 1.0}, description=linear)).text


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("full", "Evaluation full"),
        ("quick", "Evaluation quick (evaluate.level): of fewer images, with wider standard errors"),
    ],
)
def test_the_page_says_the_level_of_the_evaluation(level, text):
    result = made_up({"test.nll_nats": 1.0})
    measured = {**result.metrics, "evaluation": {"level": level}}
    assert text in bare(replace(result, metrics=measured)).text
    assert text not in bare(result).text


def test_text_from_outside_is_escaped():
    evil = '"><script>alert(1)</script>&'
    outside = info(name=evil, class_names=(evil, "b"), factor_names=(evil, "c"))
    shares, maps = np.array([0.75, 0.25]), np.eye(2)
    result = made_up(
        {"test.nll_nats": 1.0},
        info=outside,
        description=description(evil),
        arrays={
            "class_shares": shares,
            "class_shares_real": shares[::-1],
            "factor_mutual_information": maps,
        },
    )
    text = build_page(result)
    assert "<script" not in text
    assert "alert(1)" in Page(text).text
    alternatives = " ".join(given["alt"] for given in Page(text).all("img"))
    assert evil in alternatives
    assert all("<script" not in svg for svg in svgs(Page(text), "light"))


def test_collapse_is_described_with_what_to_try():
    table = {
        "active": np.array([False, False]),
        "mean_variance": np.array([1e-6, 1e-6]),
        "aggregate_stddev": np.array([1.0, 1.0]),
        "aggregate_mean": np.array([0.0, 0.0]),
        "kl_nats": np.array([0.0, 0.0]),
        "ks_statistic": np.array([0.01, 0.01]),
    }
    found = Page(build_page(made_up({"latent.active_units": 0}, dimensions=table)))
    assert "posterior collapse" in found.text
    assert "Settings to try, the most promising first" in found.text
    positions = [found.text.index(words) for words in ("carries no information.", "Findings")]
    assert positions == sorted(positions), "below the title of the section"
    assert "not active: 0, 1." in " ".join(given["alt"] for given in found.all("img"))


def test_figures_of_missing_arrays_are_left_out():
    assert Page(build_page(made_up({"test.nll_nats": 2.0}))).all("figure") == []
    some = {"nll": np.array([1.0, 2.0, 3.0])}
    found = Page(build_page(made_up({"test.nll_nats": 2.0}, arrays=some)))
    assert len(found.all("figure")) == 1
    # Some figures need no arrays.
    assert 0 < len(bare(real("vae")).all("figure")) < len(Page(page("vae")).all("figure"))


def test_factors_that_do_not_vary_are_not_named():
    result = made_up(
        {"disentanglement.mutual_information_gap": 0.5},
        info=info(factor_names=("shape", "color", "size")),
        arrays={"factor_mutual_information": np.eye(2), "factor_columns": np.array([0, 2])},
    )
    alternative = Page(build_page(result)).all("img")[0]["alt"]
    assert "shape mostly in z0, size mostly in z1" in alternative
    unknown = replace(result, arrays={"factor_mutual_information": np.eye(2)})
    assert "factor 0 mostly in z0" in Page(build_page(unknown)).all("img")[0]["alt"]


def test_a_page_begins_with_a_judgement_and_pictures_and_folds_the_rest():
    found = Page(page("vae"))
    tags = [(tag, given.get("class", "")) for tag, given in found.tags]
    judgement = next(i for i, (tag, name) in enumerate(tags) if name.startswith("judgement"))
    figure, card = tags.index(("figure", "wide")), tags.index(("ul", "cards"))
    assert judgement < figure < card < tags.index(("details", ""))
    assert len(found.all("details")) == len(SECTIONS) + 1, "the glossary too"
    assert not any("open" in given for given in found.all("details"))
    assert "Rated metrics" not in found.text, "no tally"


def test_a_probe_of_a_latent_that_tells_nothing_is_grey():
    numbers = {"latent.linear_probe_accuracy": 0.5, "latent.active_units": 0.0}
    table = {
        "active": np.array([False]),
        "mean_variance": np.array([1e-6]),
        "aggregate_stddev": np.array([1.0]),
        "kl_nats": np.array([0.0]),
    }
    collapsed = Page(build_page(made_up(numbers, dimensions=table)))
    assert [given["class"] for given in collapsed.all("tr") if "moot" in given.get("class", "")]
    assert "so this number means nothing." in collapsed.text
    sound = Page(build_page(made_up(numbers)))
    assert not [given for given in sound.all("tr") if "moot" in given.get("class", "")]
