"""Several processes as one run: how a process joins the others, and how it leaves them."""

import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import jax

from awd_jax import output
from awd_jax.errors import InputError, LostProcessError, ProcessError, one_line
from awd_jax.run.replicas import local_devices

# Seconds to wait for a common shutdown: an error in all processes ends them within this time.
_SECONDS_TO_LEAVE = 5
_LONGER = 60  # seconds that jax's timeout exceeds ours: jax would abort without our message


class Place(NamedTuple):
    """The place of a process among those of a run; jax detects the fields that are None."""

    coordinator_address: str | None  # host:port that process 0 can listen on
    num_processes: int | None
    process_id: int | None
    start_timeout: int  # seconds until all must have joined
    heartbeat_timeout: int  # seconds of silence after which a process counts as dead


def find_place(given: Place, distributed: bool, environment: Mapping[str, str]) -> Place | None:
    """Returns the place that flags and environment give; None for a process that runs alone.

    Args:
      given: from the flags; None where a flag is not set.
      distributed: whether jax should detect what is not given.
      environment: may hold JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.

    Raises:
      InputError: they give only a part of the place, or an impossible one.
    """
    place = given._replace(
        coordinator_address=given.coordinator_address or environment.get("JAX_COORDINATOR_ADDRESS"),
        num_processes=_number(given.num_processes, environment, "JAX_NUM_PROCESSES"),
        process_id=_number(given.process_id, environment, "JAX_PROCESS_ID"),
    )
    names = ("coordinator_address", "num_processes", "process_id")
    missing = [f"--{name}" for name in names if getattr(place, name) is None]
    if len(missing) == len(names) and not distributed:
        return None
    if missing and not distributed:
        raise InputError(
            " and ".join(missing),
            "missing, although a part of the place is given",
            "give all of --coordinator_address, --num_processes and --process_id, or "
            "--distributed where jax finds them (TPU pod, SLURM, Open MPI)",
        )
    address = place.coordinator_address
    if address is not None and not re.fullmatch(r"\S+:\d+", address):
        raise InputError(
            f"--coordinator_address={address}", "must be host:port", "such as localhost:1234"
        )
    num, own = place.num_processes, place.process_id
    if num is not None and own is not None and not 0 <= own < num:
        raise InputError(
            f"--process_id={own} of --num_processes={num}",
            "must be at least 0 and below the number of processes",
            "number the processes 0, 1, ...",
        )
    return place


def _number(given: int | None, environment: Mapping[str, str], name: str) -> int | None:
    if given is not None or name not in environment:
        return given
    try:
        return int(environment[name])
    except ValueError as error:
        fix = "correct it, or unset it"
        raise InputError(f"{name}={environment[name]}", "must be a whole number", fix) from error


def join(place: Place) -> None:
    """Waits until all processes have joined; ends this one with an error if they do not.

    Raises:
      InputError: jax cannot start, cannot detect what was not given, or has no devices.
    """
    # jax's own SIGTERM handler would replace ours, see `stops`.
    jax.config.update("jax_enable_preemption_service", False)
    # jax would abort the process with a stack trace, without naming the missing ones.
    timer = threading.Timer(place.start_timeout, _give_up, [place])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            place.coordinator_address,
            place.num_processes,
            place.process_id,
            initialization_timeout=place.start_timeout + _LONGER,
            heartbeat_timeout_seconds=place.heartbeat_timeout,
        )
    except Exception as error:  # from any cluster's detection, or an address in use
        raise InputError(
            f"coordinator address {place.coordinator_address or 'that jax finds'}",
            f"jax cannot start there ({one_line(error)})",
            "give a free port of process 0, or all of --coordinator_address, --num_processes and "
            "--process_id",
        ) from error
    finally:
        timer.cancel()
    local_devices()  # its error is one line if there are none


def _give_up(place: Place) -> None:
    error = ProcessError(f"{describe_missing(place)} within {place.start_timeout} s")
    output.complain(str(error), is_last=True)
    os._exit(error.exit_code)


def describe_missing(place: Place) -> str:
    """Says which processes did not come, as far as this one can know."""
    num, own, address = place.num_processes, place.process_id, place.coordinator_address
    if num is None or own is None or address is None:
        return "not all of the processes that jax has found came"
    if own and not _answers(address):
        return f"process 0 of {num} did not come: nobody answers at {address}"
    others = [k for k in range(num) if k not in (0, own)]
    if len(others) > 1:
        return (
            f"of processes {', '.join(map(str, others))} some did not come: "
            f"those that do not print this themselves (this is process {own} of {num})"
        )
    if others:
        return f"process {others[0]} of {num} did not come"
    return f"process 0 at {address} is there, but does not know of process {own} of {num}"


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def explain_loss(error: Exception) -> LostProcessError | None:
    """Explains a collective's error that means a lost process; None for any other error."""
    if not jax.distributed.is_initialized():
        return None
    if not re.search(r"gloo|nccl|coordination|connection|socket|barrier", str(error), re.I):
        return None
    return LostProcessError(
        f"process {jax.process_index()} of {jax.process_count()} has lost another one "
        f"({one_line(error)}); start all again with the same command: "
        "the run goes on from its last checkpoint"
    )


def leave(exit_code: int, others_too: bool) -> NoReturn:
    """Ends this process at once: nothing is printed after what the caller printed.

    Args:
      exit_code: of the process.
      others_too: the other processes are ending as well, so wait a few seconds for a common
        shutdown. Process 0 always does: it runs the coordinator, so it must leave last.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    if jax.distributed.is_initialized() and (others_too or jax.process_index() == 0):
        # jax's shutdown waits for all processes and then aborts: the timer is faster. The
        # others notice by the closed connection or the missing heartbeat.
        timer = threading.Timer(_SECONDS_TO_LEAVE, os._exit, [exit_code])
        timer.daemon = True
        timer.start()
        with contextlib.suppress(Exception):  # the others may be gone; our exit code counts
            jax.distributed.shutdown()
    os._exit(exit_code)
