from summtune.plan.launch import Batch
from summtune.work.training.layout import deepspeed_config

GIVEN = {
    "train_batch_size": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
    "optimizer": "auto",
    "zero_optimization": {"stage": 2, "overlap_comm": True},
    "steps_per_print": 50,
}


def test_deepspeed_gets_the_values_of_the_recipe(prepare):
    plan = prepare(micro_batch_size=2, gradient_accumulation_steps=4, max_grad_norm=0.5).plan
    plan = plan.model_copy(update={"deepspeed": GIVEN, "batch": Batch.of(plan.recipe, 2, 40)})
    config = deepspeed_config(plan, bf16=True)
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (2, 4)
    assert (config["gradient_clipping"], config["bf16"]) == (0.5, {"enabled": True})
    assert config["zero_optimization"] == GIVEN["zero_optimization"]
    assert config["steps_per_print"] == 50


def test_deepspeed_makes_no_optimizer_and_does_not_compute_in_fp16(prepare):
    plan = prepare().plan
    config = deepspeed_config(plan.model_copy(update={"deepspeed": GIVEN}), bf16=False)
    assert not {"optimizer", "scheduler", "fp16"} & config.keys()
    assert config["bf16"] == {"enabled": False}
