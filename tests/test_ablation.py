"""experiments/ablation.py: what its rows change, and what its table says."""

import math

import pytest

from configs import ptb
from experiments import ablation, ablation_recipe
from experiments.ablation import FULL, ROWS


@pytest.mark.parametrize("recipe", [ablation_recipe, ptb])
def test_every_row_changes_the_recipe(recipe):
    config = recipe.get_config()
    seen = set()
    for name, row in ROWS.items():
        changed = ablation.overrides(row, config.model)
        assert all(config[group][field] != value for (group, field), value in changed.items())
        seen.add(tuple(changed.items()))
        assert bool(changed) == (name not in (FULL, "finetuning"))
    assert len(seen) == len(ROWS) - 1


def test_changes_are_against_the_full_model_of_the_same_seed():
    results = [
        {"row": row, "seed": seed, "valid": 0.0, "test": math.log(perplexity)}
        for row, seed, perplexity in [
            (FULL, 0, 100.0),
            (FULL, 1, 200.0),
            ("weight drop", 0, 110.0),
            ("weight drop", 1, 210.0),
            ("weight drop", 2, 500.0),  # its full model has not been run yet
        ]
    ]
    assert ablation.changes(results, "weight drop") == pytest.approx([10.0, 5.0])
    row = ablation.make_table(results).splitlines()[3]
    assert "| weight drop | 2 |" in row and "+7.50 (+5.00 to +10.00)" in row
    assert row.endswith("| +20.2 | +13.8 |")
