"""Nothing that comes in a file is run: no pickle, no unsafe YAML, no eval, no unsafe Keras."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for top in ("daemon", "plugins", "migrations") for path in (ROOT / top).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("yaml", "Loader"),
    ("yaml", "UnsafeLoader"),
    ("os", "system"),
    ("os", "popen"),
    ("config", "enable_unsafe_deserialization"),
}
MUST_BE = {"allow_pickle": False, "safe_mode": True, "shell": False}


def findings(source: str) -> list[str]:
    return [said for node in ast.walk(ast.parse(source)) for said in _said(node)]


def _said(node: ast.AST):
    match node:
        case ast.Import(names=names):
            yield from (name.name for name in names if name.name.split(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
            yield module
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield f"{name}()"
        case ast.Attribute(value=ast.Name(id=of) | ast.Attribute(attr=of), attr=name):
            if (of, name) in ATTRIBUTES:
                yield f"{of}.{name}"
    if isinstance(node, ast.Call):
        yield from _calls(node)


def _calls(node: ast.Call):
    given = {word.arg: word.value for word in node.keywords}
    for name, value in MUST_BE.items():
        found = given.get(name)
        if found is not None and not (isinstance(found, ast.Constant) and found.value is value):
            yield f"{name}={ast.unparse(found)}"
    called = ast.unparse(node.func)
    if called in ("np.load", "numpy.load") and "allow_pickle" not in given:
        yield f"{called} without allow_pickle=False"
    if called.endswith("saving.load_model") and "safe_mode" not in given:
        yield f"{called} without safe_mode=True"


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "yaml.load(text)",
        "keras.config.enable_unsafe_deserialization()",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "keras.saving.load_model(path)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_check_finds_what_it_is_for(bad):
    assert findings(bad)


def test_no_file_can_bring_code():
    found = {str(path.relative_to(ROOT)): findings(path.read_text()) for path in SOURCES}
    assert {path: said for path, said in found.items() if said} == {}
