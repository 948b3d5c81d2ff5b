"""A manifest to change in tests."""

from daemon.manifest import BackbonePart, Manifest, Part
from daemon.preprocessing import Geometry, Scaling


def make_manifest(**changes):
    values = {
        "name": "tiny",
        "created_at": "2025-01-02T03:04:05Z",
        "classes": ("cat", "dog"),
        "geometry": Geometry(8, 8),
        "scaling": Scaling.UNIT,
        "backbone": BackbonePart(name="fake", weights="none"),
        "head": Part(name="softmax", options={"dropout": 0.2}),
        "reading": "probabilities",
    }
    return Manifest(**values | changes)
