# SPDX-License-Identifier: Apache-2.0
"""Four ways on from one prompt, which is computed once; the likeliest is kept."""

import itertools
import sys

import decant

PROMPT = "The fox looked at the hen and said"


def main(path: str) -> None:
    with decant.Engine(path) as engine, engine.session() as session:
        session.generate(PROMPT, max_new_tokens=0)
        forks = [session.fork() for _ in range(4)]
        streams = [
            fork.stream("", temperature=0.8, seed=seed, max_new_tokens=40, stop_strings=["\n"])
            for seed, fork in enumerate(forks, 1)
        ]

        # All streams have begun: the first that is asked computes a token for each of them.
        pieces: list[list[decant.Piece]] = [[] for _ in streams]
        for one_of_each in itertools.zip_longest(*streams):
            for column, piece in zip(pieces, one_of_each):
                if piece is not None:
                    column.append(piece)

        candidates = []
        for column in pieces:
            logprobs = [piece.logprob for piece in column if piece.token_id >= 0]
            candidates.append((sum(logprobs) / len(logprobs), "".join(piece.text for piece in column)))
        for mean, text in candidates:
            print(f"[{mean:.5f}]{text}")
        print(f"best: {PROMPT}{max(candidates)[1]}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except decant.DecantError as error:
        sys.exit(str(error))
