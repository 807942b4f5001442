"""A first look without any download: a clip is generated, tracked and scored, beside a tracker without memory."""
