# SPDX-License-Identifier: Apache-2.0
"""Five users, one loop: whoever can be taken in is, the others wait for somebody to finish."""

import collections
import sys

import decant

PROMPTS = ["Once upon a time", "The fox looked at the hen and said", "Far away, in the forest,",
           "The king had three sons", "There was an old woman"]  # fmt: skip


def main(path: str) -> None:
    with decant.Engine(path, max_sequences=3) as engine:
        options = decant.Generation(sampling=decant.Sampling(temperature=0), max_new_tokens=24)
        for prompt in PROMPTS:
            print(f"{prompt}… takes up to {engine.admit(prompt, options).needed_bytes // 1024} KiB of cache")

        waiting = collections.deque(PROMPTS)
        texts: dict[int, str] = {}  # of those that are alive
        while waiting or texts:
            while waiting:
                try:  # the first one's prompt goes before the others'
                    number = engine.submit(waiting[0], options, priority=int(waiting[0] == PROMPTS[0]))
                except decant.CacheFull:
                    if not texts:
                        raise
                    break
                texts[number] = waiting.popleft()
            for piece in engine.step().pieces:
                texts[piece.sequence] += piece.text
                if piece.finish != decant.Finish.NONE:
                    print(f"{piece.sequence} ({piece.finish.name.lower()}): {texts.pop(piece.sequence)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except decant.DecantError as error:
        sys.exit(str(error))
