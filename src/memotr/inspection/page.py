"""HTML page of a run's errors: values for the Jinja2 templates in ``templates``, which escape all text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from memotr.errors import UserError
from memotr.inspection import wording
from memotr.inspection.event_card import WorstEvent, event_card
from memotr.inspection.inspect_run import Inspection
from memotr.inspection.pictures import Picture
from memotr.inspection.sequence_section import metric_texts, sequence_section
from memotr.io.draw import track_color

if TYPE_CHECKING:
    from jinja2 import Environment


def write_html(
    inspection: Inspection, worst: Sequence[WorstEvent], pictures: Mapping[int, Sequence[Picture]], notes: Sequence[str]
) -> str:
    """Render the page of a run.

    Args:
        inspection: errors of the run.
        worst: events that get a card, the costliest first.
        pictures: index in ``worst`` → pictures of the event; events without pictures may be missing.
        notes: notes at the top of the page.

    Raises:
        UserError: Jinja2 is not installed.
    """
    template = template_environment().get_template("page.html.j2")
    classes = inspection.truth.classes
    cards = [event_card(k + 1, one, classes, pictures.get(k, ())) for k, one in enumerate(worst)]
    sections = [
        sequence_section(
            inspection, k, {card: one.event for card, one in zip(cards, worst, strict=True) if one.errors is errors}
        )
        for k, errors in enumerate(inspection.errors)
    ]
    return template.render(
        name="/".join(inspection.path.absolute().parts[-2:]),
        results="/".join(inspection.results.parts[-3:]),
        truth="/".join(inspection.truth.path.parts[-3:]),
        notes=notes,
        numbers=metric_texts(inspection.metrics),
        num_scored=len(inspection.by_sequence),
        num_frames=sum(errors.num_frames for errors in inspection.errors),
        num_objects=sum(len(errors.tracks) for errors in inspection.errors),
        num_switches=sum(len(errors.switches) for errors in inspection.errors),
        losses={kind: sum(section.losses[kind] for section in sections) for kind in wording.KINDS.values()},
        reasons=_reasons(inspection),
        classes=[(name, metric_texts(row)) for name, row in inspection.by_class.items()],
        cards=cards,
        sequences=sections,
        renumbered=inspection.truth.results.names_classes,
    )


def _reasons(inspection: Inspection) -> dict[str, list[tuple[str, int]]]:
    """Return kind of error → possible causes with their numbers of errors, most frequent first."""
    totals = {kind: Counter[str]() for kind in wording.KINDS.values()}
    for errors in inspection.errors:
        for total, counts in zip(totals.values(), errors.reasons(), strict=True):
            total.update(counts)
    return {kind: total.most_common() for kind, total in totals.items()}


@cache
def template_environment() -> Environment:
    """Return the Jinja2 environment of the page's templates, which is imported and created at the first call.

    Raises:
        UserError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is required but not installed: pip install 'memotr[eval]'") from error
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "capital": wording.capital,
        "percent": _percent,
        "quantity": wording.count,
        "thousands": "{:,}".format,
        "track_colour": _track_colour,
    }
    return environment


def _percent(share: float, digits: int) -> str:
    return f"{share:.{digits}%}"


def _track_colour(track: int) -> str:
    """Return the colour of a track as in annotated videos, in hexadecimal RGB."""
    return "#{:02x}{:02x}{:02x}".format(*track_color(track))
