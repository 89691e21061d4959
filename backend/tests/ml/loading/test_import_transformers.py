"""Processes that load models do without SciPy, and others do not notice."""

import subprocess
import sys

import pytest


@pytest.mark.sae
def test_scipy_is_left_out_and_can_still_be_imported() -> None:
    program = (
        "import sys\n"
        "import modelyard.ml.loading.import_transformers\n"
        "from transformers import LlamaForCausalLM\n"
        "from transformers.utils import is_scipy_available\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'scipy']\n"
        "assert is_scipy_available()\n"
        "import scipy.optimize, sae_lens\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
