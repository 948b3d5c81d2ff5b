"""Which backbones can be built here and now: their weights are in the box or on this machine."""

from collections.abc import Iterator, Sequence
from typing import Any

from daemon.app import Wiring
from daemon.classifier import resolve_weights
from daemon.config import ModelSettings, Selection
from daemon.contracts import Backbone, CachedBackbone
from daemon.errors import WeightsError

_BUNDLED, _FETCHED = "bundled", "imagenet"


def candidates(wiring: Wiring, wanted: Sequence[Selection] = ()) -> list[ModelSettings]:
    """Return the `model` settings to compare: with the backbones `wanted`, or with the configured
    one and all that are at hand.

    A backbone other than the configured one has its own image size and first choice of weights.
    Raises `PluginError` for a wanted backbone that there is not.
    """
    configured = wiring.loaded.settings.model
    for selection in wanted:
        wiring.catalogue.backbones.options(selection, wiring.loaded.base)
    found = [_with(configured, selection) for selection in wanted or _at_hand(wiring)]
    if not wanted and not any(_is_same(wiring, configured, model) for model in found):
        found.insert(0, configured)
    return [model for place, model in enumerate(found) if model not in found[:place]]


def check_at_hand(wiring: Wiring, model: ModelSettings) -> None:
    """Raise `WeightsError` where building the backbone would fetch its weights."""
    backbone = wiring.catalogue.backbones.build(model.backbone, wiring.loaded.base)
    if resolve_weights(backbone, model.weights) != _FETCHED:
        return
    size = model.image_size or (backbone.default_size, backbone.default_size)
    if _options(wiring, model.backbone) not in _stored(wiring, model.backbone.name, backbone, size):
        raise WeightsError(
            "its ImageNet weights are not on this machine; `classifyd models train` with this"
            " backbone fetches them"
        )


def _with(configured: ModelSettings, selection: Selection) -> ModelSettings:
    if selection == configured.backbone:
        return configured
    own = {"backbone": selection, "weights": "auto", "image_size": None}
    return configured.model_copy(update=own)


def _at_hand(wiring: Wiring) -> Iterator[Selection]:
    table, base = wiring.catalogue.backbones, wiring.loaded.base
    for name in table.entries:
        try:
            backbone = table.build(Selection(name), base)
            first, size = backbone.weights_choices[0], backbone.default_size
            if first == _BUNDLED:
                yield Selection(name)
            elif first == _FETCHED and isinstance(backbone, CachedBackbone):
                yield from (Selection(name, each) for each in backbone.at_hand(size, size))
        except Exception:  # somebody's plugin is broken, which its row will tell
            yield Selection(name)


def _stored(
    wiring: Wiring, name: str, backbone: Backbone, size: tuple[int, int]
) -> list[dict[str, Any]]:
    if not isinstance(backbone, CachedBackbone):
        return []  # it cannot tell, and may fetch
    return [_options(wiring, Selection(name, each)) for each in backbone.at_hand(*size)]


def _options(wiring: Wiring, selection: Selection) -> dict[str, Any]:
    table, base = wiring.catalogue.backbones, wiring.loaded.base
    return table.options(selection, base).model_dump(mode="json")


def _is_same(wiring: Wiring, one: ModelSettings, other: ModelSettings) -> bool:
    return _built(wiring, one) == _built(wiring, other)


def _built(wiring: Wiring, model: ModelSettings) -> tuple[Any, ...]:
    """Return what a backbone is in the end, however it was written."""
    backbone = wiring.catalogue.backbones.build(model.backbone, wiring.loaded.base)
    weights = backbone.weights_choices[0] if model.weights == "auto" else model.weights
    size = model.image_size or (backbone.default_size, backbone.default_size)
    return model.backbone.name, _options(wiring, model.backbone), weights, tuple(size)
