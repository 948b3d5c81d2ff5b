"""Each image is put on its side of the split once, when it is first labelled."""

from sqlalchemy import Engine

from daemon.store.labelled import LabelledImages


def settle_sides(engine: Engine, now: str) -> int:
    """Put labelled images that have no side yet on one; returns how many.

    A side is never changed, whatever is labelled or retracted later: see
    `daemon.learning.sides`.
    """
    from daemon.learning.sides import assign

    labelled = LabelledImages(engine)
    if not labelled.without_side():
        return 0
    images = labelled.ever()
    known = {image.sha256: image.side for image in images if image.side is not None}
    sides = assign(images, known)
    labelled.place(sides, now)
    return len(sides)
