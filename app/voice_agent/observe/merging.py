"""One page of metrics from the pages of several workers: every sample says whose it is."""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "worker"


def merge(pages: Mapping[str, bytes]) -> bytes:
    """Prometheus text of pages by worker, with the label `worker` added; a metric's samples stay together."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for worker, page in pages.items():
        name = ""
        for line in page.decode().splitlines():
            if line.startswith("#"):
                name = line.split(" ", 3)[2]
                texts, _ = families.setdefault(name, ([], []))
                if line not in texts:
                    texts.append(line)
            else:
                families[name][1].append(_labelled(line, worker))
    return "".join(f"{line}\n" for texts, samples in families.values() for line in (*texts, *samples)).encode()


def _labelled(sample: str, worker: str) -> str:
    series, _, value = sample.rpartition(" ")
    label = f'{LABEL}="{worker}"'
    if series.endswith("}"):
        return f"{series[:-1]},{label}}} {value}"
    return f"{series}{{{label}}} {value}"
