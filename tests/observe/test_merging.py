from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from voice_agent.observe.merging import merge
from voice_agent.observe.metrics import Metrics


def test_a_merged_page_holds_every_sample_of_every_worker_once() -> None:
    """Each with its worker, every metric's samples together under one type, as Prometheus wants them."""
    pages = {}
    for number, worker in enumerate("12"):
        metrics = Metrics(version="1", color="blue")
        for _ in range(number + 1):
            metrics.call_started()
        pages[worker] = metrics.registry.page()
    families = list(text_string_to_metric_families(merge(pages).decode()))
    assert len({family.name for family in families}) == len(families)
    samples = [sample for family in families for sample in family.samples]
    for worker, page in pages.items():
        alone = [it for family in text_string_to_metric_families(page.decode()) for it in family.samples]
        mine = [(it.name, {**it.labels}, it.value) for it in samples if it.labels["worker"] == worker]
        assert mine == [(it.name, {**it.labels, "worker": worker}, it.value) for it in alone]
    started = {it.labels["worker"]: it.value for it in samples if it.name == "voice_calls_started_total"}
    assert started == {"1": 1.0, "2": 2.0}
