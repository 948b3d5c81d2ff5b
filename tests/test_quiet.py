"""What libraries say that no user can act on stays out of the way."""

import logging

import numpy as np

from daemon.quiet import import_keras
from daemon.training.features import compiled


class Heard(logging.Handler):
    """Keeps what a logger was told."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_tensorflow_does_not_remark_that_each_model_is_a_graph_of_its_own():
    import_keras()
    import keras

    heard = Heard()
    logger = logging.getLogger("tensorflow")
    logger.addHandler(heard)
    try:
        for width in range(1, 9):
            layers = [keras.Input((width,)), keras.layers.Dense(1)]
            compiled(keras.Sequential(layers))(np.zeros((1, width), np.float32))
    finally:
        logger.removeHandler(heard)
    assert heard.lines == []
