"""datatrove's MinHash stages, run by a Python that has datatrove: one JSON line in for each run, one out when it is done.

In: {"folder": of Parquet files with a column `text`, "work": an empty folder}. Out: {"files": in the order of their numbers, "tasks": 2};
what is to be removed lies in `work`/remove. Words are found by the same regular expression as elsewhere, in place of a
tokenizer, which would only take longer.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

WORKERS = 2
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")


class Words:
    def word_tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text)


def run(folder: Path, work: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature, minhash
    from datatrove.pipeline.readers import ParquetReader

    config = minhash.MinhashConfig(n_grams=5, num_buckets=32, hashes_per_bucket=4)
    minhash.load_word_tokenizer = lambda language: Words()  # its own would want spacy even to be replaced
    sign = MinhashDedupSignature(output_folder=str(work / "signatures"), config=config)
    stages = [
        ([ParquetReader(str(folder)), sign], WORKERS),
        ([MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)], config.num_buckets),
        ([MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)], 1),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(WORKERS, tasks), logging_dir=str(work / f"log-{number}"), start_method="fork"
        ).run()


def main() -> None:
    from loguru import logger

    logger.remove()
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        wanted = json.loads(line)
        folder = Path(wanted["folder"])
        run(folder, Path(wanted["work"]))
        answers.write(json.dumps({"files": sorted(path.name for path in folder.glob("*.parquet")), "tasks": WORKERS}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
