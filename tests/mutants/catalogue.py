"""All mutants: what is wrong in each, and what must catch it."""

from tests.mutants.catalogue_devices import COREAI, EXECUTORCH
from tests.mutants.catalogue_files import FILES
from tests.mutants.catalogue_models import NETWORKS, WEIGHTS
from tests.mutants.catalogue_rules import RULES
from tests.mutants.mutant import Mutant

CATALOGUE: tuple[Mutant, ...] = (*WEIGHTS, *NETWORKS, *FILES, *RULES)
DEVICE_CATALOGUE: tuple[Mutant, ...] = (*COREAI, *EXECUTORCH)
