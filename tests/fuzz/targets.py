"""The readers under attack: commands, the seed files that they read, and which of these are damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz.hostile import NAMES, NUMBERS, YAML_RAW
from tests.fuzz.server import SERVER, WAYS

Words = tuple[str, ...]

CPU = ("--device", "cpu")
PLAIN = ("--device", "cpu", "--kernel", "reference", "--no-video")
WEIGHTS = ("--checkpoint", "in/one.safetensors")
PINNED = ("training.epochs=1", "data.workers=0", "--data-root", "in/data", "--output", "out/run", *CPU)
"""Options that keep a training run short whatever its configuration says."""

SECRET = "s3cr3tw0rd"
"""Password in addresses; must not be shown anywhere."""


@dataclass(frozen=True)
class Target:
    """A reader under attack.

    Attributes:
        seed: folder of the seeds that is copied to ``in``.
        commands: command lines, of which each case draws one.
        files: patterns of the attacked files, relative to ``in``.
        weight: relative frequency.
        codes: permitted exit codes.
        renamed: also give files and folders hostile names.
        words: draws hostile arguments to append, instead of damaging a file.
    """

    seed: str
    commands: tuple[Words, ...]
    files: Words = ("**/*",)
    weight: int = 10
    codes: tuple[int, ...] = (0, 2)
    renamed: bool = False
    words: Callable[[Random], Words] | None = None


def split(*lines: str) -> tuple[Words, ...]:
    return tuple(tuple(line.split()) for line in lines)


def _keys(tree: dict[str, Any], place: str = "") -> list[str]:
    return [
        key
        for name, value in tree.items()
        for key in (
            [f"{place}{name}", *_keys(value, f"{place}{name}.")] if isinstance(value, dict) else [f"{place}{name}"]
        )
    ]


def setting(rng: Random) -> str:
    """Draw a ``key=value`` with a hostile value."""
    from memotr.config import Config

    key = rng.choice(_keys(Config().model_dump()))
    value = rng.choice((*NUMBERS, *NAMES, *YAML_RAW, "[1e9]", "[10000000, 1]", "{}", "null", "500", "4096", "100000"))
    return rng.choice((f"{key}={value}", f"{key}={value}", f"{key}=[{value}]", f"{key}x={value}", value, f"={value}"))


def settings(rng: Random) -> Words:
    return "--set", setting(rng)


def plain_settings(rng: Random) -> Words:
    return (setting(rng),)


SCHEMES = ("rtsp", "http", "https", "rtmp", "srt", "tcp", "ftp", "HTTP", "hls+http", "rtsps", "x", "file")
USERS = ("user:{}@", "user:a/{}@", "user:a#{}@", "user:a?{}@", "{}@", "u:{}%40@")
HOSTS = ("127.0.0.1:1", "127.0.0.1:99999", "[::1", "[::1]:1", "", "a@127.0.0.1:1", "\x1b[31m", "a" * 300, "\ud800")
PATHS = ("/a.mp4", "", "/../../x", "/x?token={}", "/x;token={}", "/x#{}", "/\u202egnp")


def address(rng: Random) -> Words:
    """Draw an address with a password, of a host that does not respond."""
    scheme, slashes = rng.choice(SCHEMES), rng.choice(("://", "://", ":/"))
    rest = (rng.choice(part).replace("{}", SECRET) for part in (USERS, HOSTS, PATHS))
    return (f"{scheme}{slashes}{''.join(rest)}",)


def stream(rng: Random) -> Words:
    """Draw an address of the server whose response breaks off."""
    name = rng.choice(("clip.ts", "clip.ts", "clip.mkv", "clip.mp4", "clip.mjpeg", "clip.gif"))
    return (
        f"{SERVER}/{rng.choice(WAYS)}/{rng.choice((0, 1, 100, rng.randrange(4000), rng.randrange(20_000)))}/{name}",
    )


def options(*names: str) -> Callable[[Random], Words]:
    """Return a function that draws one of these options with a hostile value."""

    def draw(rng: Random) -> Words:
        value = rng.choice(NUMBERS if rng.random() < 0.4 else NAMES)
        return (f"{rng.choice(names)}={value}",)

    return draw


def check(path: str, *more: str) -> tuple[Words, ...]:
    return (("data", "check", path, *(more or ("--no-sheet",))),)


def track(source: str, *more: str, checkpoint: str = "in/one.safetensors") -> Words:
    return ("track", source, "--checkpoint", checkpoint, *PLAIN, "--output", "out", *more)


SCORE = split(
    "score in/gt in/results --output out/run --workers 1",
    "score in/gt in/results --format mot17 --workers 1",
    "score in/gt in/results --seqmap in/map.txt --workers 1",
    "score in/gt in/results --allow-missing --format mot15",
)
SCORE_BDD100K = split(
    "score in/BDD100K in/results --split val --format bdd100k --workers 1 --output out/run",
    "score in/BDD100K/labels/box_track_20/val in/results --workers 1",
)
SCORE_COCO = split("score in/data in/results --split train --output out/run --workers 1")
ERRORS = split("errors in/a --output out/errors.html", "errors in/a --output out/e.html --images in/gt --worst 4")
SUBMIT = split(
    "submit --dataset in/DanceTrack --results in/results --partial --format dancetrack --output out",
    "submit --dataset in/DanceTrack --results in/results --partial --format mot20 --output out",
)
SUBMIT_BDD100K = split(
    "submit --dataset in/BDD100K --split val --results in/results --partial --format bdd100k --output out"
)
EVAL = split("eval --checkpoint in/one.safetensors --dataset in/DanceTrack --split val --output out/run --device cpu")
EVAL_BDD100K = split(
    "eval --checkpoint in/eight.safetensors --dataset in/BDD100K --split val --output out/run --device cpu"
)
INFO = split("info in/one.pth", "info in/scrap.pth", "info in/old.pth", "info in/one.pt", "info in/one.safetensors")
CONVERT = split(
    "convert in/one.pth out/a.safetensors",
    "convert in/one.safetensors out/a.pth",
    "convert in/old.pth out/a.safetensors",
)
TRAIN = (("train", "in/config.yaml", *PINNED),)
RESUME = (
    ("train", "--resume", "in/run", "training.epochs=2", *PINNED[1:]),
    ("info", "in/run/last.pt"),
    ("train", "in/config.yaml", "--pretrained", "in/run/last.safetensors", *PINNED),
)
VIDEOS = ("clip.mp4", "clip.mkv", "clip.ts", "clip.avi", "clip.gif", "clip.mjpeg", "jpegs.mkv", "turned.mp4")
ANNOTATED = tuple(
    ("track", f"in/{name}", *WEIGHTS, *PLAIN[:-1], "--output", "out") for name in ("clip.mp4", "clip.gif")
)
IMAGES = ("one.jpg", "one.png", "one.bmp", "one.webp", "one.tiff", "one.gif", "palette.png", "deep.tiff", "alpha.png")
FOLDERS = (*(track(f"in/{name}") for name in ("jpg", "png", "webp", "tiff", "sequence")), track("in/png", "--skip-bad"))
EXPORTED = tuple(
    ("track", "in/clip.mp4", "--checkpoint", f"in/{name}", "--no-video", "--output", "out", "--device", "cpu")
    for name in ("tracker.onnx", "tracker.pt2")
)
TRACK_STREAM = (("track", *WEIGHTS, *PLAIN, "--output", "out"),)
GENERATED = ("--format", "generated", "--no-sheet")
LABELS = "BDD100K/labels/**/val/*.json"
THRESHOLDS = ("--det-thresh", "--track-thresh", "--result-thresh", "--miss-tolerance")
FRAMES = ("--start", "--end", "--stride", "--max-frames")
STREAM = (0, 1, 2)
"""Sources that break off in an error exit with 1."""

TARGETS: dict[str, Target] = {
    "score": Target("mot", SCORE, ("**/*.txt", "**/*.ini"), 60, renamed=True),
    "score bdd100k": Target("bdd100k", SCORE_BDD100K, ("results/*.json", LABELS), 30, renamed=True),
    "score coco": Target("coco_video", SCORE_COCO, ("data/annotations/train.json", "results/*"), 20, renamed=True),
    "compare": Target(
        "scored", split("compare in/a in/b --output out/c --resamples 100"), ("?/*.json",), 25, renamed=True
    ),
    "errors": Target("scored", ERRORS, ("a/*.json", "gt/**/*", "results/*"), 25, renamed=True),
    "submit": Target("dancetrack", SUBMIT, ("results/*", "DanceTrack/test/**/*", "DanceTrack/test*"), 30, renamed=True),
    "submit bdd100k": Target("bdd100k", SUBMIT_BDD100K, ("results/*", LABELS), 20, renamed=True),
    "eval": Target("dancetrack", EVAL, ("DanceTrack/val/**/*", "DanceTrack/val*", "one.*"), 20, renamed=True),
    "eval bdd100k": Target("bdd100k", EVAL_BDD100K, (LABELS,), 15, renamed=True),
    "data check": Target(
        "dancetrack", check("in/DanceTrack", "--sheet", "out/a.png"), ("DanceTrack/**/*",), 20, renamed=True
    ),
    "data check mot17": Target("mot17", check("in/MOT17"), ("**/*.txt", "**/*.ini"), 20, renamed=True),
    "data check motsynth": Target("motsynth", check("in/MOTSynth"), weight=15, renamed=True),
    "data check crowdhuman": Target(
        "crowdhuman", check("in/CrowdHuman", "--full", "--no-sheet"), weight=25, renamed=True
    ),
    "data check bdd100k": Target("bdd100k", check("in/BDD100K"), ("BDD100K/labels/**/*.json",), 30, renamed=True),
    "data check coco": Target(
        "coco_video", check("in/data", "--sheet", "out/a.png"), ("data/*/*.json",), 30, renamed=True
    ),
    "data check generated": Target(
        "generated",
        tuple(one for name in ("MOT17", "BDD100K", "CrowdHuman") for one in check(f"in/{name}", *GENERATED)),
        ("**/*.txt",),
        20,
    ),
    "dataset.yaml": Target("described", check("in/DanceTrack"), ("DanceTrack/dataset.yaml", "DanceTrack/*.txt"), 30),
    "info": Target("weights", INFO, ("@",), 50, renamed=True),
    "info huggingface": Target("huggingface", split("info in", "convert in out/detector.pth"), weight=20),
    "convert": Target("weights", CONVERT, ("@", "config.yaml"), 30),
    "track weights": Target(
        "weights",
        (
            track("in/one.png"),
            track("in/one.png", checkpoint="in/one.pth"),
            track("in/one.png", "--config", "in/config.yaml", checkpoint="in/one.pth"),
        ),
        ("one.safetensors", "one.pth", "config.yaml"),
        30,
    ),
    "info published": Target(
        "published",
        (("info", "in/bare.pth"),),
        ("config.yaml", "bare.pth"),
        30,
    ),
    "set": Target("videos", (track("in/clip.mp4"),), (), 40, words=settings),
    "track options": Target("videos", (track("in/clip.mp4"),), (), 15, words=options(*THRESHOLDS, *FRAMES, "--config")),
    "score options": Target(
        "mot",
        split("score in/gt in/results"),
        (),
        10,
        words=options("--seqmap", "--split", "--sequences", "--format", "--workers"),
    ),
    "addresses": Target("videos", TRACK_STREAM, (), 15, words=address),
    "streams": Target("videos", TRACK_STREAM, (), 20, STREAM, words=stream),
    "train": Target("trained", TRAIN, ("config.yaml",), 20),
    "train set": Target("trained", TRAIN, (), 15, words=plain_settings),
    "train published": Target("published", TRAIN, ("config.yaml",), 15),
    "train data": Target("trained", TRAIN, ("data/DanceTrack/train/**/*", "data/DanceTrack/*.txt"), 5),
    "resume": Target("trained", RESUME, ("run/last.pt", "run/config.yaml", "run/last.safetensors"), 25),
    "track video": Target("videos", tuple(track(f"in/{name}") for name in VIDEOS), ("@",), 90, STREAM, renamed=True),
    "track video, annotated": Target("videos", ANNOTATED, ("@",), 15, STREAM),
    "track image": Target("images", tuple(track(f"in/{name}") for name in IMAGES), ("@",), 60, STREAM, renamed=True),
    "track images": Target("images", FOLDERS, ("@", "sequence/**/*"), 30, STREAM, renamed=True),
    "info exports": Target("exports", split("info in/tracker.onnx", "info in/tracker.pt2"), ("@",), 25),
    "track onnx": Target("exports", (EXPORTED[0],), ("tracker.onnx",), 15),
    "track pt2": Target("exports", (EXPORTED[1],), ("tracker.pt2",), 8),
}
