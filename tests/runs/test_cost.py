"""Costs, computed by hand."""

import pytest
from made_up_results import prediction_stats, training

from summtune.base.errors import RunDirectoryError
from summtune.runs.cost import UNKNOWN_COST, Cost, cost_of
from summtune.runs.run_plan import MadeBy, PlanView

GPU = {"device": "cuda"}
GENERATED = {"dialogues": 500, "unique_prompts": 480, "prompt_tokens": 150_000, "generated_tokens": 20_000}
HOURLY = {"price": {"device_hour": 2.5, "currency": "EUR"}}
SERVER = {"url": "http://localhost/v1", "model": "large", "price": {"input": 2.0, "output": 8.0, "currency": "USD"}}


def plan(kind="prompt", **fields):
    return PlanView(**({"kind": kind, "name": "mine", "recipe": {}} | fields))


def cost(tmp_path, plan, stats=None, trained=None):
    return cost_of(tmp_path, plan, prediction_stats(**(stats or {})), trained)


def test_a_trained_model_costs_its_device_hours(tmp_path):
    of_train = plan("train", recipe=HOURLY, train=GPU, predict=GPU)
    trained = training(device_seconds=7200.0, processes=4, peak_memory_bytes=11)
    found = cost(tmp_path, of_train, GENERATED | {"device_seconds": 900.0}, trained)
    assert (found.training_device_hours, found.generation_device_hours, found.device) == (2.0, 0.25, "cuda")
    assert (found.training_money, found.generation_money, found.money) == (5.0, 0.625, 5.625)
    assert (found.money_per_1000_dialogues, found.currency) == (1.25, "EUR")
    assert (found.devices, found.peak_memory_bytes) == (4, 11)
    assert (found.dialogues, found.prompts, found.prompt_tokens, found.generated_tokens) == (500, 480, 150_000, 20_000)
    assert found.per_1000(found.generated_tokens) == 40_000


def test_a_server_costs_its_tokens_and_no_device_hours(tmp_path):
    found = cost(tmp_path, plan(recipe={"endpoint": SERVER}), GENERATED | {"seconds": 60.0, "processes": 1})
    # 0.15 million at 2 and 0.02 million at 8.
    assert found.generation_money == pytest.approx(0.3 + 0.16)
    assert found.money_per_1000_dialogues == pytest.approx(0.92)
    assert (found.training_money, found.currency, found.generation_device_hours, found.device) == (
        0.0,
        "USD",
        None,
        None,
    )


def test_without_a_price_no_money_is_known(tmp_path):
    of_server = plan(recipe={"endpoint": SERVER | {"price": None}})
    of_device = plan(recipe={"price": None}, predict={"device": "cpu"})
    for each in (of_server, of_device):
        found = cost(tmp_path, each, GENERATED | {"device_seconds": 36.0})
        money = (found.training_money, found.generation_money, found.money, found.money_per_1000_dialogues)
        assert (money, found.currency) == ((None,) * 4, None)
    assert (found.generation_device_hours, found.device) == (0.01, "cpu")


def test_tokens_that_a_server_does_not_report_leave_its_money_unknown(tmp_path):
    found = cost(tmp_path, plan(recipe={"endpoint": SERVER}), GENERATED | {"generated_tokens": None})
    assert (found.prompt_tokens, found.generated_tokens) == (150_000, None)
    assert (found.generation_money, found.money, found.money_per_1000_dialogues) == (None, None, None)


def test_a_run_that_is_older_than_device_seconds_has_those_of_its_last_attempt(tmp_path):
    assert cost(tmp_path, plan(), {"seconds": 90.0, "processes": 2}).generation_device_hours == 0.05
    assert cost(tmp_path, plan(), {"seconds": 90.0}).generation_device_hours is None


def test_a_stage_that_was_reused_has_the_cost_of_its_maker_and_names_it(tmp_path):
    maker = MadeBy(run_dir="/outputs/lora-1a2b3c4d", created_at=None, device="cuda", versions={})
    reused = plan("train", recipe=HOURLY, train={"device": "cpu"}, predict=GPU, reused={"train": maker})
    found = cost(tmp_path, reused, GENERATED, training(device_seconds=3600.0))
    assert (found.training_money, found.training_made_by) == (2.5, "outputs/lora-1a2b3c4d")
    assert (found.device, found.generation_made_by) == ("cuda", None)


def test_hours_of_different_devices_are_of_no_device(tmp_path):
    assert cost(tmp_path, plan("train", train=GPU, predict={"device": "cpu"}), {}, training()).device is None


def test_external_outputs_have_unknown_costs_only(tmp_path):
    assert cost(tmp_path, plan("scored")) == UNKNOWN_COST
    assert set(UNKNOWN_COST.to_json().values()) == {None}
    assert UNKNOWN_COST.to_json().keys() == Cost.model_fields.keys()


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"price": {"device_hour": -1.0, "currency": "USD"}}, r"recipe: price\.device_hour: .*got -1\.0"),
        ({"price": {"device_hour": 1.0}}, r"recipe: price\.currency: Field required"),
        ({"endpoint": {"price": {"input": "2", "output": 1.0, "currency": "USD"}}}, r"price\.input: .*got '2'"),
        ({"price": {"device_hour": 1.0, "currency": "dollars"}}, r"currency: .*got 'dollars'"),
    ],
)
def test_a_price_that_no_recipe_can_have_is_refused(tmp_path, recipe, named):
    with pytest.raises(RunDirectoryError, match=named):
        cost(tmp_path, plan(recipe=recipe), GENERATED)


def test_negative_times_are_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"generation_device_hours: .*got -1\.0"):
        cost(tmp_path, plan(), {"device_seconds": -3600.0})
