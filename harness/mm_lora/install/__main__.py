"""`python3 harness/mm_lora/install`: makes the environment, or does nothing where it is ready.

Any Python 3 may start it: a fit one is looked for, and takes over. No annotations and no new
syntax here, so that an old Python gets as far as the message.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
if os.path.abspath(sys.path[0]) == HERE:  # run as a folder: its modules must not be top-level ones
    sys.path[0] = os.path.dirname(os.path.dirname(HERE))

if sys.version_info < (3, 7):
    sys.exit(
        "setup: mm-lora needs Python 3.11 to 3.13\n"
        "  check: name one, as in `make setup PYTHON=python3.11`"
    )

from mm_lora.install.interpreters import hand_over_if_unfit

hand_over_if_unfit()

from mm_lora.install.setup import main

sys.exit(main(sys.argv[1:]))
