"""What ships in the box, written only against the public names of `daemon`.

`BUILTIN` names the modules that are registered at start, through the same door as outsiders.
"""

BUILTIN = (
    "plugins.backbones.alexnet",
    "plugins.backbones.googlenet",
    "plugins.backbones.applications",
    "plugins.backbones.compact",
    "plugins.heads.softmax",
    "plugins.heads.binary",
    "plugins.heads.multilabel",
    "plugins.heads.linear_svm",
    "plugins.heads.prototype",
    "plugins.runtimes.keras_runtime",
    "plugins.runtimes.litert_runtime",
    "plugins.runtimes.onnx_runtime",
    "plugins.runtimes.openvino_runtime",
    "plugins.sources.folder",
    "plugins.labels.class_folder",
    "plugins.sinks.jsonl",
    "plugins.sinks.webhook",
    "plugins.sinks.sort",
    "plugins.retrainers.auto",
    "plugins.retrainers.probe",
    "plugins.retrainers.finetune",
    "plugins.retrainers.recipe",
    "plugins.gates.holdout",
    "plugins.executors.local",
)
