"""What libraries say that no user can act on stays out of the way."""

import logging

import numpy as np
import pytest

from daemon.quiet import import_keras
from daemon.training.features import compiled


class Heard(logging.Handler):
    """Keeps what a logger was told."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.mark.slow
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


@pytest.mark.usefixtures("keras")
def test_the_tests_leave_the_home_folder_alone(keras_folder):
    assert (keras_folder / "keras.json").is_file()
