"""Many processes as one run: how each finds the others, and how it leaves them."""

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

# An error of all processes ends them at the same time, one of a single process does not.
_SECONDS_TO_LEAVE = 5
_LONGER = 60  # seconds that jax waits longer than we do: it would abort without a word of ours


class Place(NamedTuple):
    """The place of a process among those of a run. What is None jax finds out by itself."""

    coordinator_address: str | None  # host:port, free for process 0 to listen at
    num_processes: int | None
    process_id: int | None
    start_timeout: int  # seconds until all must have come
    heartbeat_timeout: int  # seconds of silence after which a process counts as dead


def find_place(given: Place, distributed: bool, environment: Mapping[str, str]) -> Place | None:
    """The place that flags and environment say; None of a process that is alone.

    Args:
      given: by flags, where they were.
      distributed: whether jax shall find out what is not given.
      environment: has JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.

    Raises:
      InputError: they give a part of it only, or what cannot be.
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
            "missing, where a part of it is given",
            "give all of --coordinator_address, --num_processes and --process_id, or "
            "--distributed where jax finds them (TPU pod, SLURM, Open MPI)",
        )
    address = place.coordinator_address
    if address is not None and not re.fullmatch(r"\S+:\d+", address):
        raise InputError(
            f"--coordinator_address={address}", "must be host:port", "say localhost:1234"
        )
    num, own = place.num_processes, place.process_id
    if num is not None and own is not None and not 0 <= own < num:
        raise InputError(
            f"--process_id={own} of --num_processes={num}",
            "must be a number from 0 on, below that of processes",
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
    """Waits until all processes have come. Ends this one with an error if they do not.

    Raises:
      InputError: jax cannot start, or find out what was not given; or it has no devices.
    """
    # jax's own handler of SIGTERM would take it from ours, see `stops`.
    jax.config.update("jax_enable_preemption_service", False)
    # jax would abort the process, with a stack trace and no names.
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
    except Exception as error:  # of any cluster's detection, or of an address in use
        raise InputError(
            f"coordinator address {place.coordinator_address or 'that jax finds'}",
            f"jax cannot start there ({one_line(error)})",
            "give a free port of process 0, or all of --coordinator_address, --num_processes and "
            "--process_id",
        ) from error
    finally:
        timer.cancel()
    local_devices()  # to say in one line that there are none: what comes next asks how many


def _give_up(place: Place) -> None:
    error = ProcessError(f"{describe_missing(place)} within {place.start_timeout} s")
    output.complain(str(error), is_last=True)
    os._exit(error.exit_code)


def describe_missing(place: Place) -> str:
    """Who did not come, as far as this process can know."""
    num, own, address = place.num_processes, place.process_id, place.coordinator_address
    if num is None or own is None or address is None:
        return "not all of the processes that jax has found came"
    if own and not _answers(address):
        return f"process 0 of {num} did not come: nobody answers at {address}"
    others = [k for k in range(num) if k not in (0, own)]
    if len(others) > 1:
        return (
            f"of processes {', '.join(map(str, others))} some did not come: "
            f"those that do not say so themselves (this is process {own} of {num})"
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
    """Says in one line that a collective lost another process; None of any other error."""
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
    """Ends this process by an error, at once: nothing is printed after what the caller said.

    Args:
      exit_code: of the process.
      others_too: the other processes are ending as well, so wait a few seconds for a common
        shutdown. Process 0 always does: it runs the coordinator, so it must leave last.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    if jax.distributed.is_initialized() and (others_too or jax.process_index() == 0):
        # Alone, it would be aborted by jax's own shutdown, which waits for all. The
        # others find it gone, by a connection that closes or by its heartbeat.
        timer = threading.Timer(_SECONDS_TO_LEAVE, os._exit, [exit_code])
        timer.daemon = True
        timer.start()
        with contextlib.suppress(Exception):  # the others may be gone: our exit code counts
            jax.distributed.shutdown()
    os._exit(exit_code)
