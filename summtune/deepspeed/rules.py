"""Finds where a DeepSpeed config contradicts a recipe, or has keys that DeepSpeed would silently ignore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from summtune.base.hints import hint
from summtune.deepspeed.zero_memory import offloads
from summtune.recipe.adapters import quantization_of
from summtune.recipe.keys import TrainingSettings

# The keys that DeepSpeed reads (deepspeed/runtime/config.py and its documentation); it silently ignores any other.
_KNOWN = (
    "activation_checkpointing", "aio", "amp", "autotuning", "bf16", "bfloat16", "checkpoint", "comms_logger",
    "communication_data_type", "compile", "compression_training", "csv_monitor", "curriculum_learning",
    "data_efficiency", "data_types", "dataloader_drop_last", "disable_allgather", "disable_python_gc", "dump_state",
    "elasticity", "flops_profiler", "fp16", "gradient_accumulation_steps", "gradient_allreduce_op",
    "gradient_clipping", "gradient_predivide_factor", "hybrid_engine", "log_level", "managed_gradient_accumulation",
    "memory_breakdown", "nebula", "optimizer", "prescale_gradients", "progressive_layer_drop", "scheduler",
    "sequence_parallel_size", "sparse_attention", "sparse_gradients", "steps_per_print", "tensor_parallel",
    "tensorboard", "timers", "torch_autocast", "train_batch_size", "train_micro_batch_size_per_gpu",
    "wall_clock_breakdown", "wandb", "weight_quantization", "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer", "zero_optimization",
)  # fmt: skip
# Each would change what the recipe trains: its batches, data, weights or arithmetic.
_CHANGE_THE_TRAINING = (
    "amp", "autotuning", "bfloat16", "communication_data_type", "compression_training", "curriculum_learning",
    "data_efficiency", "data_types", "elasticity", "gradient_allreduce_op", "hybrid_engine",
    "managed_gradient_accumulation", "progressive_layer_drop", "sequence_parallel_size", "sparse_attention",
    "tensor_parallel", "torch_autocast", "weight_quantization",
)  # fmt: skip
# The same inside sections, if enabled.
_CHANGE_IN_SECTIONS = {
    "checkpoint": ("load_universal",),
    "zero_optimization": (
        "zenflow", "zero_quantized_gradients", "zero_quantized_nontrainable_weights", "zero_quantized_weights",
    ),
}  # fmt: skip
# The fields of DeepSpeed's classes (deepspeed/runtime/zero/config.py and offload_config.py), aliases included.
ZERO_KEYS = (
    "allgather_bucket_size", "allgather_partitions", "allgather_sequential", "compute_grad_norm",
    "contiguous_gradients", "cpu_offload", "cpu_offload_param", "cpu_offload_use_pin_memory", "elastic_checkpoint",
    "enable_sanity_checks", "gather_16bit_weights_on_model_save", "ignore_unused_parameters", "leaf_module",
    "legacy_stage1", "load_from_fp32_weights", "log_trace_cache_warnings", "max_live_parameters",
    "max_reuse_distance", "memory_efficient_linear", "model_persistence_threshold", "module_granularity_threshold",
    "offload_optimizer", "offload_param", "overlap_comm", "override_module_apply", "param_persistence_threshold",
    "parameter_alignment", "pipeline_loading_checkpoint", "prefetch_bucket_size", "reduce_bucket_size",
    "reduce_scatter", "round_robin_gradients", "save_muon_momentum_buffer_in_memory", "stage",
    "stage3_allgather_sequential", "stage3_gather_16bit_weights_on_model_save",
    "stage3_gather_fp16_weights_on_model_save", "stage3_max_live_parameters", "stage3_max_reuse_distance",
    "stage3_model_persistence_threshold", "stage3_module_granularity_threshold", "stage3_param_persistence_threshold",
    "stage3_prefetch_bucket_size", "stage3_use_all_reduce_for_fetch_params", "sub_group_size",
    "use_all_reduce_for_fetch_params", "use_multi_rank_bucket_allreduce", "zenflow", "zero_hpz_partition_size",
    "zero_quantized_gradients", "zero_quantized_nontrainable_weights", "zero_quantized_weights",
)  # fmt: skip
OFFLOAD_KEYS = {
    "offload_optimizer": (
        "buffer_count", "cpuadam_cores_perc", "device", "fast_init", "nvme_path", "pin_memory", "pipeline_read",
        "pipeline_write", "ratio", "super_offload",
    ),
    "offload_param": ("buffer_count", "buffer_size", "device", "max_in_cpu", "nvme_path", "pin_memory"),
}  # fmt: skip
# Old names that DeepSpeed still accepts; summtune reads only the new ones.
_OLD_NAMES = {"cpu_offload": "offload_optimizer", "cpu_offload_param": "offload_param"}
_OFFLOADS = ("offload_optimizer", "offload_param")
GATHER = "stage3_gather_16bit_weights_on_model_save"

# These come from the recipe; a number for them in the DeepSpeed config could contradict it.
_FROM_RECIPE = {
    "train_batch_size": "micro_batch_size, gradient_accumulation_steps and num_processes",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer": "optimizer, learning_rate and weight_decay",
    "scheduler": "lr_scheduler",
    "fp16": "bf16 (T5 overflows in fp16)",
    "bf16": "bf16",
}


def wrong_with_config(config: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield what is wrong with a DeepSpeed config regardless of the recipe.

    Args:
        config: as read; its ``zero_optimization`` section, if any, is an object.
        path: of the file, for the messages.
    """
    for key in config:
        if key not in _KNOWN:
            yield f"DeepSpeed has no such key and would ignore it (got {key} in {path}){hint(key, _KNOWN)}"
    for key in _CHANGE_THE_TRAINING:
        value = config.get(key)
        if value is not None and not (isinstance(value, Mapping) and value.get("enabled") is False):
            yield _changes_the_training(key, path)
    for section, keys in _CHANGE_IN_SECTIONS.items():
        inside = config.get(section)
        yield from (
            _changes_the_training(f"{section}.{key}", path)
            for key in keys
            if isinstance(inside, Mapping) and inside.get(key)
        )
    if config.get("activation_checkpointing") is not None:
        yield (
            f"activation_checkpointing has no effect on a transformers model (got it in {path}); remove it, and set "
            "gradient_checkpointing in the recipe"
        )
    yield from _wrong_with_zero(config.get("zero_optimization", {}), path)
    for key, owner in _FROM_RECIPE.items():
        if not _is_left_to_recipe(key, config.get(key, "auto")):
            yield (
                f"the DeepSpeed config sets what the recipe sets (got {key} in {path}); "
                f'write "auto" there and set {owner}'
            )


def _changes_the_training(key: str, path: Path) -> str:
    return f"the DeepSpeed config would change the training that the recipe describes (got {key} in {path}); remove it"


def _wrong_with_zero(zero: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield what is wrong with the ``zero_optimization`` section."""
    for key in zero:
        if key in _OLD_NAMES:
            yield f'{key} is an old name (got it in {path}); write "{_OLD_NAMES[key]}": {{"device": "cpu"}}'
        elif key not in ZERO_KEYS:
            yield f"zero_optimization has no such key (got {key} in {path}){hint(key, ZERO_KEYS)}"
    for key, least in zip(_OFFLOADS, (1, 3), strict=True):
        yield from _wrong_with_offload(key, zero, least, path)
    if zero.get("stage") == 3 and zero.get(GATHER, True) is not True:
        yield f"without {GATHER} ZeRO-3 saves no model (got {zero[GATHER]!r} in {path}); set it to true"


def _wrong_with_offload(key: str, zero: Mapping[str, Any], least: int, path: Path) -> Iterator[str]:
    """Yield what is wrong with an offload section, which has an effect from the stage ``least`` on."""
    stage, section = zero.get("stage", 0), zero.get(key) or {}
    if not isinstance(section, Mapping):
        yield f'{key} is not an object (got {section!r} in {path}); write {{"device": "cpu"}}'
        return
    if section.get("device") == "nvme":
        yield f"checkpoints cannot hold what is on NVMe (got device 'nvme' of {key} in {path}); write cpu"
    elif section.get("device", "none") not in ("none", "cpu"):
        yield f"{key} can use cpu (got device {section['device']!r} in {path}); write cpu"
    elif offloads(zero, key) and stage < least:
        yield f"{key} has no effect below ZeRO-{least} (got stage {stage} in {path}); remove it or raise the stage"
    elif section.get("ratio", 1) != 1:
        yield f"checkpoints cannot hold a divided optimizer (got ratio {section['ratio']!r} in {path}); remove it"
    for name in section:
        if name not in OFFLOAD_KEYS[key]:
            yield f"{key} has no such key (got {name} in {path}){hint(name, OFFLOAD_KEYS[key])}"


def _is_left_to_recipe(key: str, value: Any) -> bool:
    """Return whether this value of the DeepSpeed config lets the recipe decide."""
    if key == "bf16":
        # Its other keys would also keep the optimizer's copy of the weights in bf16.
        return value in ("auto", {"enabled": "auto"})
    return value == "auto" or (isinstance(value, dict) and value.get("enabled") in (False, "auto"))


def contradictions(config: Mapping[str, Any], recipe: TrainingSettings, path: Path) -> Iterator[str]:
    """Yield each setting of the recipe that DeepSpeed could not follow with this config.

    Args:
        config: a DeepSpeed config, as `read_ds_config` returns it.
        recipe: of the training that uses it.
        path: of the file, for the messages.
    """
    zero = config.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    forced = config.get("zero_force_ds_cpu_optimizer", True)
    if stage == 0 and recipe.bf16 is True:
        yield (
            "without ZeRO, DeepSpeed keeps fp32 weights in bf16 training that checkpoints cannot hold (got stage 0 "
            f"with bf16: true in {path}); use ZeRO-1, or train without deepspeed"
        )
    if recipe.optimizer == "adafactor" and stage >= 1:
        yield (
            "ZeRO flattens the weights, but Adafactor needs their rows and columns (got optimizer: adafactor with "
            f"stage {stage} in {path}); use adamw_torch_fused, or train without deepspeed"
        )
    elif not recipe.optimizer.startswith("adamw") and offloads(zero, "offload_optimizer") and forced:
        yield (
            "offload_optimizer would replace the optimizer with DeepSpeed's CPU Adam (got optimizer: "
            f"{recipe.optimizer} with {path}); use adamw_torch_fused, or a config without offload"
        )
    if quantization_of(recipe) is not None and stage == 3:
        yield f"weights of four bits cannot be sharded by ZeRO-3 (got {path}); use ds_configs/zero2.json"
    if recipe.adapter == "prompt_tuning" and stage == 3:
        yield f"the embeddings of prompt_tuning cannot be sharded by ZeRO-3 (got {path}); use ds_configs/zero2.json"
