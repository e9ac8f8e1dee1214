# SPDX-License-Identifier: Apache-2.0
"""Four ways to stop a text: leaving its loop, an answer to a piece, a switch, and a time limit."""

import sys
import threading

import decant


def end_of_sentence(piece: decant.Piece) -> decant.Flow:
    return decant.Flow.STOP if "." in piece.text else decant.Flow.GO_ON


def main(path: str) -> None:
    options = decant.Generation(ignore_end=True)  # would go on until the context is full
    with decant.Engine(path) as engine, engine.session() as session:
        with session.stream("Once upon a time", options) as stream:
            for piece in stream:
                print(piece.text, end="")
                if "," in piece.text:
                    break
        print(" [left]")

        told = session.generate("", options, end_of_sentence)
        print(f"{told.text} [{told.finish.name.lower()}]")

        stop = decant.StopSource()  # may stop any number of texts, Engine.step() and an opening model, too
        threading.Timer(0.03, stop.request).start()
        told = session.generate("", options, stop=stop)
        print(f"{len(told.ids)} more tokens [{told.finish.name.lower()}]")

        told = session.generate("", options, timeout=0.02)
        print(f"{len(told.ids)} more tokens [{told.finish.name.lower()}]")

        told = session.generate("", options, max_new_tokens=10)  # as if nothing had happened
        print(f"{len(told.ids)} more tokens [{told.finish.name.lower()}]")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except decant.DecantError as error:
        sys.exit(str(error))
