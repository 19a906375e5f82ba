"""Tests are stricter than users: four devices, and arrays never promote silently."""

import os
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compilation is most of the time of a test; level 1 halves it and leaves XLA's own passes on.
# The devices of a collective wait for one another, where the machine is busy for long: XLA says
# so after 20 s, and aborts after 40 s.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        "--xla_backend_optimization_level=1",
        "--xla_cpu_collective_call_warn_stuck_timeout_seconds=600",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    )
)
# With fewer threads than twice the devices, collectives of asynchronous steps can deadlock.
os.environ["PJRT_NPROC"] = str(max(8, int(os.environ.get("PJRT_NPROC") or 0)))

# What one test compiled, another one reads: a resumed run is the same programs again. Workers that
# run tests side by side, and the processes that tests start, share it through the environment.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="awd_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import hypothesis
import jax
import pytest

# Tests send signals. What starts them may ignore some, as a script does SIGINT for what it starts
# in the background, and `nohup` SIGHUP; every process would inherit that.
for _signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The first example compiles, and a busy machine is slow: neither is a fault.
hypothesis.settings.register_profile(
    "jax", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("jax")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """A program holds memory maps, of which a process may have 65,530; more, and it aborts."""
    yield
    jax.clear_caches()
