"""`python -m learn2talk` runs the command `learn2talk`."""

import sys

from learn2talk.cli import main

sys.exit(main())
