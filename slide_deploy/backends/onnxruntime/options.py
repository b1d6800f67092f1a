"""Options of a session of ONNX Runtime. All are set explicitly; the user's options come last."""

from collections.abc import Mapping
from typing import Any

from slide_deploy.backends.base import Configuration
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.refusals import refuse_options
from slide_deploy.errors import InputError

# Attributes of `SessionOptions` that a user may set, by the type of their value.
_WHOLE = ("inter_op_num_threads", "intra_op_num_threads")
_SWITCH = (
    *("enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse"),
    "use_deterministic_compute",
)
_ENUMERATIONS = {
    "execution_mode": "ExecutionMode",
    "graph_optimization_level": "GraphOptimizationLevel",
}
ATTRIBUTES = (*_WHOLE, *_SWITCH, *_ENUMERATIONS)


def session_options(provider: Provider, configuration: Configuration) -> Any:
    """Return the `SessionOptions` of a configuration.

    Raises:
        InputError: if the value of an option is not valid.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = pool_size(configuration)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        level.ORT_ENABLE_ALL if provider.optimise else level.ORT_DISABLE_ALL
    )
    options.enable_mem_pattern = provider.memory_pattern
    options.log_severity_level = 3  # errors only: its warnings concern its own optimiser
    # Records which provider runs which node. Older releases ignore the entry.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for name, text in configuration.options.items():
        if "." in name:  # a configuration entry: session.…, optimization.…
            options.add_session_config_entry(name, text)
        elif name in ATTRIBUTES:
            setattr(options, name, _value(provider, name, text))
    return options


def provider_options(provider: Provider, configuration: Configuration) -> dict[str, str]:
    """Return the options of the provider, in which the user's options take precedence.

    Raises:
        InputError: if neither the session nor the provider has an option, or a value is not valid.
    """
    given = configuration.options
    entries = [name for name in given if "." in name]
    refuse_options(provider.target, given, (*ATTRIBUTES, *provider.option_names, *entries))
    if not given.get("device_id", "0").isdecimal():  # the inputs are placed on this device too
        raise InputError(
            f"{provider.target}: device_id must be a whole number, not {given['device_id']}."
        )
    return provider.options(configuration) | {
        name: text for name, text in given.items() if name in provider.option_names
    }


def pool_size(configuration: Configuration) -> int:
    """Return the size of the thread pool that all calls of a session share.

    Each call runs on its own thread as well, so that ``streams`` concurrent calls use
    ``threads * streams`` threads. ONNX Runtime counts one calling thread as part of the pool.
    """
    return configuration.streams * (configuration.threads - 1) + 1


def reported(options: Any) -> Mapping[str, str]:
    """Return the facts to record about a session's options."""
    return {
        "intra_op_num_threads": str(options.intra_op_num_threads),
        "inter_op_num_threads": str(options.inter_op_num_threads),
        "execution_mode": options.execution_mode.name,
        "graph_optimization_level": options.graph_optimization_level.name,
    }


def _value(provider: Provider, name: str, text: str) -> Any:
    import onnxruntime

    if name in _WHOLE and text.isdecimal():
        return int(text)
    if name in _SWITCH and text in ("0", "1"):
        return text == "1"
    if name in _ENUMERATIONS:
        members = getattr(onnxruntime, _ENUMERATIONS[name]).__members__
        if text in members:
            return members[text]
        expected = "one of " + ", ".join(members)
    else:
        expected = "0 or 1" if name in _SWITCH else "a whole number"
    raise InputError(f"{provider.target}: {name} must be {expected}, not {text}.")
