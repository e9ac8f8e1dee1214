# SPDX-License-Identifier: Apache-2.0
import sys

import decant

try:
    for piece in decant.Engine(sys.argv[1]).session().stream("Once upon a time", max_new_tokens=100):
        print(piece.text, end="", flush=True)
except decant.DecantError as error:
    sys.exit(str(error))
