"""A challenger goes live only when it is no worse on images that neither model learned from."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import plugins
from daemon.learning.evidence import GateVerdict, judge_all
from daemon.learning.paired import Paired
from daemon.loader import load_plugins
from daemon.testing import check_gate, make_evidence
from plugins.gates.holdout import HoldoutGate, HoldoutOptions

MODULES = [name for name in plugins.BUILTIN if ".gates." in name]
REGISTERED = [
    factory
    for factories in load_plugins(MODULES, ()).manager.hook.register_gates()
    for factory in factories
]


def judged(challenger, champion, **options):
    return HoldoutGate(HoldoutOptions(**options)).judge(challenger, champion)


def mostly(share, count, seed=0):
    """So many answers, this share of them right, in an order of chance."""
    right = [number < share * count for number in range(count)]
    random.Random(seed).shuffle(right)
    return right


@pytest.mark.parametrize("factory", REGISTERED, ids=lambda factory: factory.name)
def test_every_registered_gate_keeps_the_contract(factory):
    check_gate(factory.build(factory.options()))


@pytest.mark.parametrize("factory", REGISTERED, ids=lambda factory: factory.name)
def test_every_registered_gate_tells_the_far_better_from_the_far_worse(factory):
    gate = factory.build(factory.options())
    good, bad = make_evidence([True] * 60), make_evidence([False] * 60)
    assert gate.judge(good, bad).allowed
    assert not gate.judge(bad, good).allowed


def test_the_gate_in_the_documentation_works():
    page = Path(__file__).parents[1] / "docs" / "explanation" / "gate.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names = {}
    exec(compile(code, str(page), "exec"), names)
    (factory,) = names["register_gates"]()
    gate = factory.build(factory.options())
    check_gate(gate)
    assert not gate.judge(make_evidence([False] * 9), None).allowed


def test_registering_imports_no_keras_or_numpy():
    code = (
        f"import importlib, sys\n"
        f"for name in {MODULES}:\n"
        f"    list(importlib.import_module(name).register_gates())\n"
        f"print(sorted({{'keras', 'tensorflow', 'numpy', 'PIL'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_loss_within_noise_is_let_through_and_one_beyond_is_not():
    champion = make_evidence([True] * 60)
    slightly = judged(make_evidence([False] * 3 + [True] * 57), champion)
    assert slightly.allowed
    assert slightly.reasons[0] == (
        "Overall: right on 57 of 60 held-out images, the champion on 60 (0 gained, 3 lost,"
        " p = 0.12): not worse beyond noise."
    )
    clearly = judged(make_evidence([False] * 4 + [True] * 56), champion)
    assert not clearly.allowed
    assert clearly.reasons[0].endswith("(0 gained, 4 lost, p = 0.062): worse.")


def test_a_gain_overall_does_not_pay_for_a_class():
    labels = ["cat"] * 20 + ["dog"] * 20
    champion = make_evidence([True] * 20 + [False] * 20, labels)
    challenger = make_evidence([False] * 5 + [True] * 35, labels)
    verdict = judged(challenger, champion)
    assert not verdict.allowed
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["Overall", "Class 'cat'"]
    assert verdict.reasons[1].endswith("worse.")


def test_members_added_since_are_reported_and_decide_nothing():
    champion = make_evidence(mostly(0.8, 60) + [False] * 200, settled=60)
    poisoned = make_evidence(mostly(0.4, 60) + [True] * 200, settled=60)
    verdict = judged(poisoned, champion)
    assert not verdict.allowed
    assert verdict.figures["added_since"] == 200
    assert verdict.reasons[-1] == (
        "Added since the last allowed model, which decides nothing: right on 200 of 200, the"
        " champion on 0."
    )
    mixed = make_evidence(mostly(0.4, 60) + [True] * 200)
    assert (
        judged(mixed, make_evidence(mostly(0.8, 60) + [False] * 200))
        .reasons[0]
        .endswith("not worse.")
    )


def test_members_added_since_decide_for_a_class_that_had_few():
    labels = ["cat"] * 20 + ["emu"] * 4 + ["emu"] * 10
    champion = make_evidence([True] * 34, labels, settled=24)
    worse = make_evidence([True] * 24 + [False] * 10, labels, settled=24)
    verdict = judged(worse, champion)
    assert not verdict.allowed
    assert any(
        reason.startswith("Class 'emu', a new class: right on 4") for reason in verdict.reasons
    )
    assert judged(worse, champion, minimum=4).allowed


def test_a_class_that_the_champion_does_not_know_is_only_reported():
    labels = ["cat", "dog"] * 20 + ["emu"] * 10
    champion = make_evidence([True] * 40 + [False] * 10, labels, 40, ("cat", "dog"))
    verdict = judged(make_evidence([True] * 45 + [False] * 5, labels, 40), champion)
    assert verdict.allowed
    assert "does not know: right on 5 of 10 held-out images." in verdict.reasons[1]


def test_against_a_champion_of_other_classes_the_commonest_class_must_be_beaten():
    labels = ["cat"] * 30 + ["dog"] * 10
    bundled = make_evidence([False] * 40, labels, 0, ("ship", "truck"))
    lazy = make_evidence([True] * 30 + [False] * 10, labels, 0)
    assert not judged(lazy, bundled).allowed
    assert "always saying 'cat' is right on 30" in judged(lazy, bundled).reasons[0]
    able = make_evidence([True] * 28 + [False] * 2 + [True] * 10, labels, 0)
    assert judged(able, bundled).allowed
    assert judged(able, None).allowed
    few = make_evidence([True] * 4, ["cat", "dog"] * 2, 0)
    assert judged(few, None).reasons == (
        "Right on 4 of 4 held-out images; always saying 'cat' is right on 2 (p = 0.25): not"
        " surely better; label more images.",
    )


def test_a_first_champion_that_knows_some_classes_must_be_matched_on_those_too():
    labels = ["cat"] * 20 + ["emu"] * 40
    bundled = make_evidence([True] * 20 + [False] * 40, labels, 0, ("cat", "ship"))
    blind = make_evidence([False] * 20 + [True] * 40, labels, 0)
    verdict = judged(blind, bundled)
    assert not verdict.allowed
    assert judged(make_evidence([True] * 55 + [False] * 5, labels, 0), bundled).allowed


def test_without_a_holdout_the_champion_stays():
    assert not judged(make_evidence([]), make_evidence([])).allowed
    assert "holdout is empty" in judged(make_evidence([]), None).reasons[0]


def test_a_holdout_that_mostly_cannot_be_read_any_more_decides_nothing():
    champion = make_evidence([True] * 60)
    gone = frozenset(f"gone {number}" for number in range(100))
    challenger = type(champion)(champion.card, champion.settled | gone)
    verdict = judged(challenger, champion)
    assert not verdict.allowed
    assert "Only 60 of the 160 held-out images" in verdict.reasons[0]
    assert judged(challenger, champion, readable=0.3).allowed


def test_models_scored_on_different_images_cannot_be_compared():
    with pytest.raises(ValueError, match="same labelled images"):
        judged(make_evidence([True] * 9), make_evidence([True] * 10))


class Says:
    def __init__(self, answer):
        self.answer = answer

    def judge(self, challenger, champion):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


YES = GateVerdict(True, ("fine",), {"n": 1})


@pytest.mark.parametrize(
    ("answer", "allowed", "reason"),
    [
        (YES, True, "b: fine"),
        (GateVerdict(False, ("too slow",)), False, "b: too slow"),
        (ZeroDivisionError("by zero"), False, "b: The gate broke: ZeroDivisionError: by zero"),
        (True, False, "b: The gate broke: it answered True, which is no verdict."),
    ],
)
def test_all_gates_must_agree_and_a_broken_one_says_no(answer, allowed, reason):
    gates = {"a": lambda: Says(YES), "b": lambda: Says(answer)}
    verdict = judge_all(gates, make_evidence([True]), None)
    assert verdict.allowed is allowed
    assert verdict.reasons == ("a: fine", reason)
    assert verdict.figures["a"] == {"n": 1}


def test_a_gate_that_cannot_be_built_says_no():
    def broken():
        raise RuntimeError("no licence")

    assert not judge_all({"a": broken}, make_evidence([True]), None).allowed


def test_no_gate_means_no_objection():
    verdict = judge_all({}, make_evidence([True]), None)
    assert (verdict.allowed, verdict.reasons) == (True, ("No gate is configured.",))


@pytest.mark.parametrize(
    ("gained", "lost", "p_worse"),
    [(0, 0, 1.0), (0, 5, 1 / 32), (5, 0, 1.0), (2, 8, 56 / 1024), (4000, 4000, 0.504)],
)
def test_the_paired_test_is_exact(gained, lost, p_worse):
    result = Paired(9000, 0, 0, gained, lost)
    assert result.p_worse == pytest.approx(p_worse, abs=1e-3 if gained > 99 else 1e-12)
    assert Paired(9000, 0, 0, lost, gained).p_better == result.p_worse
