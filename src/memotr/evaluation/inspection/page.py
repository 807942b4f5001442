"""The page: one HTML file without anything from elsewhere. All text that comes from data is escaped."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np

from memotr.evaluation.inspection import timeline, wording
from memotr.evaluation.inspection.events import Event, ObjectTrack, SequenceErrors
from memotr.evaluation.inspection.pictures import SIDE, Mark, Picture, Role
from memotr.evaluation.inspection.run import Inspection, Row

PERCENT = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")
COUNTS = {"IDSW": "IDSW", "CLR_FN": "FN", "CLR_FP": "FP"}
PARTS = {"switch": "wrong id", "missed": "missed", "false": "false"}
"""Class in the style sheet → what a lost box is."""

KINDS = {"switch": "Id switches", "missed": "Misses", "false": "False tracks"}
BADGE = 0.035  # of a timeline's width, about what the number of an event takes
BADGE_ROWS = 6

LANES, LEAST_LANES = 40, 6  # objects drawn of a sequence, at most and at least
PIECES = 30_000  # of all lanes together, some 50 bytes each; an object in one colour is one
LISTED = 8  # events of a sequence and kind that the table names
LABEL_SIZE, SMALL_LABEL, LABEL_PADDING = 16, 11, 5  # units of a picture
NEEDED = "0.5"  # intersection over union

Shown = Mapping[int, tuple[Picture, ...]]
"""Position of an event among the worst → its pictures."""


@dataclass(frozen=True)
class WorstEvent:
    """One of those that get pictures, and its sequence."""

    errors: SequenceErrors
    event: Event


def write_html(inspection: Inspection, worst: Sequence[WorstEvent], pictures: Shown, notes: Sequence[str]) -> str:
    """The page.

    Args:
        inspection: of a run.
        worst: events to be shown one by one, the costliest first.
        pictures: of them, as far as there are any.
        notes: to be told on the page.
    """
    name = "/".join(inspection.path.absolute().parts[-2:])
    css = (files(__package__) / "page.css").read_text(encoding="utf-8")
    sections = "".join(_sequence(inspection, errors, worst, pictures) for errors in inspection.errors)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(name)}: where the points are lost</title>
<style>
{css}</style>
</head>
<body>
<a class="skip" href="#sequences">Skip to the sequences</a>
{_header(inspection, name, notes)}
<main>
{_causes(inspection.errors)}
{_overview(inspection)}
{_classes(inspection)}
{_worst(inspection, worst)}
{sections}
</main>
{_footer(inspection)}
</body>
</html>
"""


def _header(inspection: Inspection, name: str, notes: Sequence[str]) -> str:
    tiles = "".join(f"<div><dt>{key}</dt><dd>{text}</dd></div>" for key, text in _numbers(inspection.metrics))
    shown, every = len(inspection.errors), len(inspection.by_sequence)
    frames = sum(errors.num_frames for errors in inspection.errors)
    objects = sum(len(errors.tracks) for errors in inspection.errors)
    extent = f"{wording.count(shown, 'sequence', 'sequences')}, {frames:,} frames, {objects:,} objects"
    mean = " HOTA to IDF1 are means over classes." if inspection.by_class else ""
    part = f" The numbers here are of all {every:,} sequences that were scored." if shown < every else ""
    told = "".join(f"<li>{escape(note)}</li>" for note in notes)
    results, truth = ("/".join(path.parts[-3:]) for path in (inspection.results, inspection.truth.path))
    return f"""<header>
<h1><small>{escape(name)}</small> Where the points are lost</h1>
<p>{extent}. Results <code>{escape(results)}</code> against <code>{escape(truth)}</code>.{mean}{part}</p>
<dl class="tiles">{tiles}</dl>
{f'<ul class="notes">{told}</ul>' if told else ""}
</header>"""


def _numbers(row: Row) -> list[tuple[str, str]]:
    percent = [(name, f"{100 * row[name]:.1f}") for name in PERCENT]
    return percent + [(heading, f"{row[name]:,.0f}") for name, heading in COUNTS.items()]


def _causes(every: Sequence[SequenceErrors]) -> str:
    """What all lost boxes come from."""
    reasons = [one.reasons() for one in every]
    switches, missed, false = (sum((each[k] for each in reasons), Counter[str]()) for k in range(3))
    strayed = sum(one.strayed for one in every)
    parts = strayed, missed.total(), false.total()
    cards = (
        (
            "switch",
            strayed,
            "under a wrong id",
            f"Boxes found, but under another id than their object has most of the time; "
            f"{wording.count(switches.total(), 'id switch', 'id switches')}",
            switches,
        ),
        ("missed", parts[1], "missed", "Annotated boxes that no prediction is matched with", missed),
        ("false", parts[2], "false", "Predictions that are matched with no object", false),
    )
    panels = "".join(
        f'<article class="cause {kind}"><h3><b>{number:,}</b> {what}</h3><p>{text}</p>{_bars(reasons)}</article>'
        for kind, number, what, text, reasons in cards
    )
    return f"""<section aria-labelledby="causes">
<h2 id="causes">What is lost, and what it may come from</h2>
{_stack(parts, sum(parts), "of all lost boxes")}
<div class="causes">{panels}</div>
</section>"""


def _bars(reasons: Counter[str]) -> str:
    """Reasons as bars, the commonest first."""
    total = reasons.total()
    rows = "".join(
        f'<li style="--share:{number / total:.4f}"><span>{escape(text)}</span> <b>{number:,}</b></li>'
        for text, number in reasons.most_common()
    )
    return f'<ul class="bars">{rows}</ul>' if rows else ""


def _stack(parts: Iterable[int], total: int, of_what: str) -> str:
    """A bar of the three kinds; as wide as their share of a total."""
    pieces = "".join(
        f'<i class="{kind}" style="--share:{number / max(total, 1):.5f}"></i>'
        for kind, number in zip(PARTS, parts, strict=True)
    )
    words = ", ".join(f"{what} {number:,}" for what, number in zip(PARTS.values(), parts, strict=True))
    label = escape(f"{words}, {of_what}")
    return f'<div class="stack" role="img" aria-label="{label}" title="{label}">{pieces}</div>'


def _overview(inspection: Inspection) -> str:
    total = sum(errors.lost for errors in inspection.errors)
    most = max(errors.lost for errors in inspection.errors)
    rows = []
    for errors in inspection.errors:
        parts = errors.strayed, errors.missed, errors.false
        rows.append(
            f'<tr><th scope="row"><a href="#{_anchor(inspection, errors)}">{escape(errors.name)}</a></th>'
            f"<td>{errors.lost / max(total, 1):.0%}</td>"
            f'<td class="wide">{_stack(parts, most, "boxes")}</td>'
            + _cells(inspection.by_sequence[errors.name])
            + f"<td>{errors.strayed:,}</td></tr>"
        )
    legend = "".join(f'<li class="{kind}">{what}</li>' for kind, what in PARTS.items())
    return f"""<section aria-labelledby="sequences">
<h2 id="sequences">Where it is lost</h2>
<ul class="legend">{legend}</ul>
<div class="scroll" tabindex="0" role="region" aria-label="Table of sequences">
<table><thead><tr><th scope="col">sequence</th><th scope="col" colspan="2">share of all lost boxes</th>{_headings()}
<th scope="col">wrong id</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
</section>"""


def _classes(inspection: Inspection) -> str:
    if not inspection.by_class:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{_cells(row)}</tr>' for name, row in inspection.by_class.items()
    )
    return f"""<section aria-labelledby="classes">
<h2 id="classes">By class</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of classes">
<table><thead><tr><th scope="col">class</th>{_headings()}</tr></thead><tbody>{rows}</tbody></table></div>
</section>"""


def _headings() -> str:
    return "".join(f'<th scope="col">{name}</th>' for name in (*PERCENT, *COUNTS.values()))


def _cells(row: Row) -> str:
    return "".join(f"<td>{text}</td>" for _, text in _numbers(row))


def _worst(inspection: Inspection, worst: Sequence[WorstEvent]) -> str:
    """The events that are shown one by one, a list for each kind."""
    lists = "".join(_worst_of_kind(inspection, kind, worst) for kind in PARTS)
    if not lists:
        return ""
    return f"""<section aria-labelledby="worst">
<h2 id="worst">The worst single events</h2>
<div class="causes">{lists}</div>
</section>"""


def _worst_of_kind(inspection: Inspection, kind: str, worst: Sequence[WorstEvent]) -> str:
    rows = []
    for k, one in enumerate(worst, start=1):
        if wording.kind(one.event) != kind:
            continue
        frames = wording.span(one.event, one.errors.verdict.truth.frames)
        told = f"{wording.capital(wording.reason(one.event))}, {wording.boxes(one.event.cost)}"
        rows.append(
            f'<li><a href="#event-{k}"><span class="badge {kind}">{k}</span> '
            f"{escape(wording.title(one.event, inspection.truth.classes))}</a>"
            f"<p>{escape(one.errors.name)}, {frames}. {escape(told)}.</p></li>"
        )
    return f'<article class="cause {kind}"><h3>{KINDS[kind]}</h3><ol>{"".join(rows)}</ol></article>' if rows else ""


def _event_headings() -> str:
    return """<th scope="col" class="text">what</th><th scope="col">when</th><th scope="col">boxes</th>
<th scope="col" class="text">may come from</th>"""


def _event_cells(inspection: Inspection, errors: SequenceErrors, event: Event) -> str:
    numbers = errors.verdict.truth.frames
    return (
        f'<td class="text what {wording.kind(event)}">{escape(wording.title(event, inspection.truth.classes))}</td>'
        f"<td>{wording.span(event, numbers)}</td><td>{event.cost:,}</td>"
        f'<td class="text">{escape(wording.reason(event))}</td>'
    )


def _sequence(inspection: Inspection, errors: SequenceErrors, worst: Sequence[WorstEvent], pictures: Shown) -> str:
    anchor = _anchor(inspection, errors)
    mine = [(k, one.event) for k, one in enumerate(worst) if one.errors is errors]
    numbers = "".join(
        f"<div><dt>{key}</dt><dd>{text}</dd></div>" for key, text in _numbers(inspection.by_sequence[errors.name])
    )
    cards = "".join(_card(inspection, errors, k, event, pictures.get(k, ())) for k, event in mine)
    return f"""<section class="sequence" aria-labelledby="{anchor}">
<h2 id="{anchor}">{escape(errors.name)}</h2>
<dl class="inline">{numbers}</dl>
{_timeline(inspection, errors, mine)}
{f'<div class="cards">{cards}</div>' if cards else ""}
{_more_events(inspection, errors, {id(event) for _, event in mine})}
<p class="up"><a href="#sequences">All sequences</a></p>
</section>"""


def _timeline(inspection: Inspection, errors: SequenceErrors, mine: Sequence[tuple[int, Event]]) -> str:
    verdict = errors.verdict
    missed, most_missed = timeline.density_lane(
        errors, verdict.objects.frames[verdict.missed], "missed", "Missed boxes"
    )
    false, most_false = timeline.density_lane(errors, verdict.predictions.frames[verdict.false], "false", "False boxes")
    axis = "".join(f'<span style="left:{share:.2%}">{number:,}</span>' for share, number in timeline.ticks(errors))
    rows = [
        (f"id switches <b>{len(errors.switches):,}</b>", timeline.switch_lane(errors)),
        (f"missed <b>{errors.missed:,}</b><small>up to {most_missed:.1f} a frame</small>", missed),
        (f"false <b>{errors.false:,}</b><small>up to {most_false:.1f} a frame</small>", false),
    ]
    lanes = "".join(f'<div class="label">{label}</div><div class="plot">{plot}</div>' for label, plot in rows)
    return f"""<figure class="timeline">
<div class="scroll" tabindex="0" role="region" aria-label="Errors over time in {escape(errors.name)}">
<div class="lanes">{_badges(errors, mine)}{lanes}
<div class="label">frame</div><div class="plot axis">{axis}</div>
{_tracks(inspection, errors)}
</div></div>
<figcaption>Below the axis a lane for each object: thick where it is found, in the colour of the id that it is found
under; thin where it is missed; a stroke at each id switch. Faultless is one colour from end to end.</figcaption>
</figure>"""


def _badges(errors: SequenceErrors, mine: Sequence[tuple[int, Event]]) -> str:
    """The numbers of the events that are shown, at their times, below one another where there is no room."""
    if not mine:
        return ""
    ends: list[float] = []  # of the rows
    badges = []
    middles = sorted(
        (((event.first + event.last + 1) / 2 / errors.num_frames, k, event) for k, event in mine),
        key=lambda each: each[:2],
    )
    for middle, k, event in middles:
        row = next((n for n, end in enumerate(ends) if end + BADGE <= middle), min(len(ends), BADGE_ROWS - 1))
        ends[row : row + 1] = [middle]
        badges.append(
            f'<a class="badge {wording.kind(event)}" href="#event-{k + 1}" '
            f'style="left:{middle:.2%};top:{1.8 * row:g}rem">{k + 1}</a>'
        )
    height = f"{1.8 * len(ends):g}rem"
    return (
        f'<div class="label">shown below</div><div class="plot badges" style="height:{height}">{"".join(badges)}</div>'
    )


def _tracks(inspection: Inspection, errors: SequenceErrors) -> str:
    """The objects that lose most, in the order of appearance; of the others how many there are."""
    faulty = [track for track in errors.tracks if track.missed + track.strayed or track.switched.any()]
    ranked = sorted(faulty, key=lambda track: -(track.missed + track.strayed))
    pieces = np.cumsum([1 + np.count_nonzero(np.diff(track.found)) for track in ranked])
    room = int(np.searchsorted(pieces, PIECES // len(inspection.errors), "right"))
    most = max(LEAST_LANES, min(LANES, room))
    shown, rest = [track for track in faulty if track in ranked[:most]], ranked[most:]
    good = len(errors.tracks) - len(faulty)
    more = [f"{wording.count(good, 'object', 'objects')} tracked without a fault"] if good else []
    if rest:
        missed, strayed = sum(track.missed for track in rest), sum(track.strayed for track in rest)
        more.append(f"{len(rest):,} that lose less ({missed:,} boxes missed, {strayed:,} under a wrong id)")
    note = f'<div class="label"></div><p class="plot">Not drawn: {" and ".join(more)}</p>' if more else ""
    if not shown:
        return note
    labels = "".join(f"<span>{escape(_name(inspection, track))}</span>" for track in shown)
    lanes = timeline.track_lanes(errors, shown)
    return f'<div class="label objects">{labels}</div><div class="plot">{lanes}</div>{note}'


def _name(inspection: Inspection, track: ObjectTrack) -> str:
    classes = inspection.truth.classes
    return f"{classes[track.label]} {track.id}" if len(classes) > 1 else f"object {track.id}"


def _more_events(inspection: Inspection, errors: SequenceErrors, shown: set[int]) -> str:
    """The next worst events of the sequence, in words."""
    kinds: tuple[tuple[Event, ...], ...] = errors.switches, errors.misses, errors.false_runs
    rest = [[event for event in events if id(event) not in shown] for events in kinds]
    listed = sorted((event for events in rest for event in events[:LISTED]), key=lambda event: -event.cost)
    if not listed:
        return ""
    rows = "".join(f"<tr>{_event_cells(inspection, errors, event)}</tr>" for event in listed)
    left = sum(map(len, rest)) - len(listed)
    more = f"<p>and {wording.count(left, 'smaller one', 'smaller ones')}</p>" if left else ""
    return f"""<details><summary>{"Other" if shown else "The worst"} events here</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Table of events in {escape(errors.name)}">
<table><thead><tr>{_event_headings()}</tr></thead><tbody>{rows}</tbody></table></div>{more}</details>"""


def _card(inspection: Inspection, errors: SequenceErrors, k: int, event: Event, pictures: tuple[Picture, ...]) -> str:
    numbers, kind = errors.verdict.truth.frames, wording.kind(event)
    title = escape(wording.title(event, inspection.truth.classes))
    figures = "".join(_figure(picture, wording.caption(event, picture.frame, numbers)) for picture in pictures)
    track = next((t for t in errors.tracks if kind != "false" and (t.label, t.id) == (event.label, event.id)), None)
    lane = f'<div class="life">{timeline.event_lane(errors, track, event)}</div>' if track else ""
    return f"""<article class="card {kind}" id="event-{k + 1}" aria-labelledby="title-{k + 1}">
<h3 id="title-{k + 1}"><span class="badge {kind}">{k + 1}</span> {title}</h3>
<p><b>{escape(wording.capital(wording.reason(event)))}.</b> {wording.details(event, numbers)}.</p>
{f'<div class="pair">{figures}</div>' if figures else ""}
{lane}
</article>"""


def _figure(picture: Picture, caption: str) -> str:
    data = base64.b64encode(picture.jpeg).decode("ascii")
    marks = "".join(map(_outline, picture.marks)) + "".join(map(_number, picture.marks))  # no line over a number
    return (
        f'<figure><svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(_seen(picture))}">'
        f'<image width="{SIDE}" height="{SIDE}" preserveAspectRatio="none" href="data:image/jpeg;base64,{data}"/>'
        f"{marks}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _seen(picture: Picture) -> str:
    """The boxes that matter, for those who cannot see them."""
    focus = [f"{mark.role} {mark.id}" for mark in picture.marks if mark.focus]
    return f"Part of the frame with {', '.join(focus) or 'no box in focus'}, and {len(picture.marks)} boxes in all"


def _outline(mark: Mark) -> str:
    """A box: dashed white for an object, in the colour of its id for a track."""
    left, top, right, bottom = mark.box
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    focus = " focus" if mark.focus else ""
    stroke = f' stroke="{timeline.colour(mark.id)}"' if mark.role == Role.TRACK else ""
    return f'<rect class="halo{focus}" {place}/><rect class="{mark.role}{focus}"{stroke} {place}/>'


def _number(mark: Mark) -> str:
    """The id of a track above its box; that of an object below, where the picture is about it."""
    left, top, _, bottom = mark.box
    size = LABEL_SIZE if mark.focus else SMALL_LABEL
    if mark.role == Role.TRACK:
        return _label(left, top - size - LABEL_PADDING, str(mark.id), timeline.colour(mark.id), size)
    return _label(left, bottom, f"object {mark.id}", "#ffffff", size) if mark.focus else ""


def _label(left: float, top: float, text: str, shade: str, size: float) -> str:
    """A plate with words, moved into the picture where it would reach out of it."""
    width, height = size * 0.6 * len(text) + 7, size + LABEL_PADDING
    x, y = min(max(left, 0), SIDE - width), min(max(top, 0), SIDE - height)
    return (
        f'<rect class="plate" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="3" fill="{shade}"/>'
        f'<text font-size="{size}" x="{x + width / 2:.1f}" y="{y + height / 2:.1f}">{escape(text)}</text>'
    )


def _footer(inspection: Inspection) -> str:
    numbered = " BDD100K's ids are numbered here in the order of their appearance." if inspection.truth.videos else ""
    return f"""<footer>
<h2>How to read this</h2>
<p>Boxes are matched as CLEAR matches them (TrackEval: overlap of {NEEDED} or more, pairs of the frame before kept where
possible), each class by itself, after what the benchmark holds against nobody is taken out. So the events here are
the IDSW, FN and FP of the tables, one by one.</p>
<p>A <b>lost box</b> is missed, false, or under a <b>wrong id</b>: found, but under another id than its object has
most of the time. An <b>id switch</b> parts an object's boxes in two; it is ranked by the shorter stretch in one id
before or after it. Runs of misses and false boxes are ranked by their number of boxes. What an error <b>may come
from</b> is a guess from the boxes alone: <i>hidden</i> if a box that reaches lower covers half of it, <i>small</i>
below 32 × 32 pixels, <i>off target</i> if a prediction and a missed object overlap by a quarter or more.</p>
<p>In pictures objects are dashed and white; predictions have the colour and number of their id, the same colours as in
the timelines.{numbered}</p>
</footer>"""


def _anchor(inspection: Inspection, errors: SequenceErrors) -> str:
    """Numbered, for names may hold anything."""
    return f"sequence-{inspection.errors.index(errors) + 1}"
