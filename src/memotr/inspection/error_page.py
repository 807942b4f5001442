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
BYTES = 2_400_000  # of all pictures together; base64 makes 4 bytes of 3
BYTES_A_PICTURE = 48_000


def write_page(
    path: Path,
    inspection: Inspection,
    *,
    images: Path | None = None,
    worst: int = 24,
    progress: Callable[[str, int], None] | None = None,
) -> list[str]:
    """Write the page of a run's errors; an existing page is replaced only by a complete one.

    Args:
        path: file to write.
        inspection: errors of the run.
        images: folder of the sequences' folders; None: the folders of the data set.
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
    limit = min(BYTES_A_PICTURE, BYTES // max(1, 2 * len(chosen)))
    pictures: dict[int, tuple[Picture, ...]] = {}
    for k, one in enumerate(chosen):
        name = one.errors.name
        pictures[k] = take_pictures(one.event, one.errors.matched, files.get(name, {}), limit)
        if progress is not None:
            progress(name, len(chosen))
    without = sum(not pictures[k] and one.errors.name in files for k, one in enumerate(chosen))
    if without:
        notes.append(f"{without} of the {len(chosen)} worst events have no picture: their images are missing or broken")
    notes = [*inspection.notes, *notes]
    with replacing(path) as beside:
        html = write_html(inspection, chosen, pictures, notes)
        beside.write_text(html, encoding="utf-8", errors=ESCAPED)
    return notes


def choose(inspection: Inspection, count: int) -> list[WorstEvent]:
    """Return the worst events, the costliest first.

    The kinds alternate, because a run of misses may cost more than any id switch.

    Args:
        inspection: errors of the run.
        count: number of events, if there are as many.
    """
    kinds: tuple[list[WorstEvent], ...] = (
        [WorstEvent(one, event) for one in inspection.errors for event in one.switches],
        [WorstEvent(one, event) for one in inspection.errors for event in one.misses],
        [WorstEvent(one, event) for one in inspection.errors for event in one.false_runs],
    )
    ranked = [_ranked(events) for events in kinds]
    taken = [event for event in chain.from_iterable(zip_longest(*ranked)) if event is not None][:count]
    return _ranked(taken)


def _ranked(events: Sequence[WorstEvent]) -> list[WorstEvent]:
    return sorted(events, key=lambda one: costliest(one.event))
