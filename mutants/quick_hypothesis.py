"""A plugin of pytest: hypothesis draws the same examples in every run, and does not look for smaller ones that fail."""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants", database=None, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("mutants")
