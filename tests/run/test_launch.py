import pytest

from awd_jax.errors import InputError
from awd_jax.run.launch import Place, describe_missing, find_place
from tests.many import own_address

NOWHERE = Place(None, None, None, 300, 100)
ENVIRONMENT = {
    "JAX_COORDINATOR_ADDRESS": "a:1",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}


def test_a_process_is_alone_unless_asked():
    assert find_place(NOWHERE, False, {}) is None


def test_a_place_comes_from_flags_and_else_from_the_environment():
    assert find_place(NOWHERE, False, ENVIRONMENT)[:3] == ("a:1", 2, 1)
    assert find_place(Place("b:2", 3, 0, 300, 100), False, ENVIRONMENT)[:3] == ("b:2", 3, 0)


def test_what_is_not_given_jax_finds_where_it_is_asked_to():
    assert find_place(NOWHERE, True, {}) == NOWHERE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"JAX_PROCESS_ID": None}, "--process_id: missing"),
        ({"JAX_NUM_PROCESSES": None, "JAX_PROCESS_ID": None}, "--num_processes and --process_id:"),
        ({"JAX_COORDINATOR_ADDRESS": None}, "--coordinator_address: missing"),
        ({"JAX_COORDINATOR_ADDRESS": "a"}, "--coordinator_address=a: must be host:port"),
        ({"JAX_PROCESS_ID": "2"}, "--process_id=2 of --num_processes=2: must be"),
        ({"JAX_PROCESS_ID": "-1"}, "--process_id=-1 of"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two: must be a whole number"),
    ],
)
def test_half_a_place_is_refused(changes, told):
    changed = {**ENVIRONMENT, **changes}
    environment = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(InputError) as error:
        find_place(NOWHERE, False, environment)
    assert str(error.value).startswith(told)


def test_the_missing_are_named_as_far_as_one_can_know():
    with own_address() as silent:
        of_two, of_three, of_other = (
            describe_missing(Place(silent, *place, 1, 1)) for place in ((2, 0), (3, 0), (2, 1))
        )
    assert of_two == "process 1 of 2 did not come"
    assert of_three.startswith("of processes 1, 2 some did not come")
    assert of_other.startswith("process 0 of 2 did not come: ")
