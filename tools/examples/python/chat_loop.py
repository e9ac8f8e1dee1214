# SPDX-License-Identifier: Apache-2.0
"""A story told in turns: each line of standard input is a paragraph, and so is each answer."""

import sys

import decant

END_OF_TURN = "\n\n"


def main(path: str) -> None:
    options = decant.Generation(
        sampling=decant.Sampling(temperature=0.7, top_p=0.9), max_new_tokens=80, stop_strings=[END_OF_TURN]
    )
    with decant.Engine(path) as engine, engine.session() as session:
        for line in sys.stdin:
            with session.stream(line.rstrip("\n") + END_OF_TURN, options) as answer:
                for piece in answer:
                    print(piece.text, end="", flush=True)
                usage, finish = answer.usage, answer.finish
            print(f"\n[{usage.n_prompt_tokens} tokens in, {usage.n_generated_tokens} out, {finish.name.lower()};"
                  f" {session.n_tokens} of {engine.n_ctx}]")  # fmt: skip


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except decant.DecantError as error:
        sys.exit(str(error))
