# SPDX-License-Identifier: Apache-2.0
"""Each run goes on where the last one stopped: save_resume.py MODEL [FILE]."""

import os
import sys

import decant


def main(model: str, path: str = "tale.kv") -> None:
    with decant.Engine(model) as engine:
        resumed = os.path.exists(path)
        with engine.restore_session(path) if resumed else engine.session() as session:
            print(f"[{session.n_tokens} tokens from {path}]")
            prompt = "" if resumed else "Once upon a time"
            print(prompt + session.generate(prompt, max_new_tokens=40).text)
            session.save(path)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except decant.DecantError as error:
        sys.exit(str(error))
