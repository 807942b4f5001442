"""Exported programs that try to run code, each made of a genuine one. The code creates a file whose path is given."""

import io
import json
import os
import zipfile

import torch
from torch import nn


class SmallStep(nn.Module):
    """A step with inputs and outputs of a frame step's, which is traced in a second."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.zeros(4))
        self.constant = torch.zeros(4)

    def forward(self, pixels, mask, ids, labels, ref_pts, query, last, long, gone, next_id, a, b, c):
        boxes = (ref_pts[:, :4] * self.scale + self.shift + self.constant).sigmoid()
        born = torch.cat([ids, next_id[None]])
        state = [torch.cat([x, x.new_ones(1, *x.shape[1:])]) for x in (labels, ref_pts, query, last, long, gone)]
        boxes = torch.cat([boxes, boxes.new_full((1, 4), 0.5)])
        return (born, *state, next_id + 1, boxes, boxes[:, 0] * pixels.mean() * 0 + 0.9)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def rewrite(source, target, changes):
    """Copy an archive. ``changes`` maps names of members, without the folder before them, to a function of their
    content (b"" for new ones) that returns the new one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        members = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name in changes:
            members[name] = changes[name](members.get(name, b""))
        for name, content in members.items():
            new.writestr(f"{root}/{name}", content)


def edited(change):
    """A change of a JSON document in place."""

    def apply(content):
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return apply
