"""Error page of a run: choice of the worst events, their pictures, and the HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from memotr.files import replacing
from memotr.inspection.event_card import WorstEvent
from memotr.inspection.events import costliest
from memotr.inspection.frame_images import find_images
from memotr.inspection.inspect_run import Inspection
from memotr.inspection.page import write_html
from memotr.inspection.pictures import Picture, take_pictures
from memotr.terminal import ESCAPED

PAGE = "errors.html"
MAX_BYTES = 2_400_000
"""Largest size of all pictures together, before base64 adds a third."""
MAX_PICTURE_BYTES = 48_000
"""Largest size of a picture."""


def write_page(
    path: Path,
    inspection: Inspection,
    *,
    images: Path | None = None,
    worst: int = 24,
    progress: Callable[[str, int], None] | None = None,
) -> list[str]:
    """Write the page of a run's errors. An existing page is replaced when the new one is complete.

    Args:
        path: file to write.
        inspection: errors of the run.
        images: folder that contains the sequences' folders; None: the data set's folders.
        worst: number of events with pictures.
        progress: called after the pictures of each event with the name of its sequence and the number of events.

    Returns:
        Notes for the user, those of the inspection first.

    Raises:
        UserError: the folder of images does not exist, Jinja2 is not installed, or the file cannot be written.
    """
    truth = inspection.truth.select([errors.name for errors in inspection.errors])
    files, notes = find_images(truth, images)
    chosen = choose(inspection, worst)
    limit = min(MAX_PICTURE_BYTES, MAX_BYTES // max(1, 2 * len(chosen)))
    pictures: dict[int, tuple[Picture, ...]] = {}
    for k, worst_event in enumerate(chosen):
        name = worst_event.errors.name
        pictures[k] = take_pictures(worst_event.event, worst_event.errors.matched, files.get(name, {}), limit)
        if progress is not None:
            progress(name, len(chosen))
    without = sum(not pictures[k] and event.errors.name in files for k, event in enumerate(chosen))
    if without:
        notes.append(f"{without} of the {len(chosen)} worst events have no picture: their images are missing or broken")
    notes = [*inspection.notes, *notes]
    with replacing(path) as draft:
        html = write_html(inspection, chosen, pictures, notes)
        draft.write_text(html, encoding="utf-8", errors=ESCAPED)
    return notes


def choose(inspection: Inspection, count: int) -> list[WorstEvent]:
    """Return the worst events, the costliest first.

    The kinds of events are selected in turn, because a single run of misses may cost more than every id switch.

    Args:
        inspection: errors of the run.
        count: maximum number of events.
    """
    kinds: tuple[list[WorstEvent], ...] = (
        [WorstEvent(errors, event) for errors in inspection.errors for event in errors.switches],
        [WorstEvent(errors, event) for errors in inspection.errors for event in errors.misses],
        [WorstEvent(errors, event) for errors in inspection.errors for event in errors.false_runs],
    )
    ranked = [_ranked(events) for events in kinds]
    chosen = [event for event in chain.from_iterable(zip_longest(*ranked)) if event is not None][:count]
    return _ranked(chosen)


def _ranked(events: Sequence[WorstEvent]) -> list[WorstEvent]:
    return sorted(events, key=lambda event: costliest(event.event))
