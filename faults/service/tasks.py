"""Tasks in Celery's forked workers. Celery ends them without atexit, so the mirror is closed by its signal."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown
from openai import OpenAI

from shadowlane.producers import Mirror

mirror = Mirror()
client = mirror.wrap(OpenAI(base_url=os.environ["MODEL_URL"], api_key="stable", max_retries=0), route="/desk")
folder = os.environ["QUEUE_FOLDER"]
app = Celery("tasks", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{folder}/queue",
    "data_folder_out": f"{folder}/queue",
    "control_folder": f"{folder}/control",
}
app.conf.worker_prefetch_multiplier = 1


@app.task
def answer(question: str) -> str | None:
    with mirror.context(key=question[-2:], route="/desk", attributes={"language": "en"}):
        done = client.chat.completions.create(
            model="desk-1", messages=[{"role": "user", "content": question}]
        )
    return done.choices[0].message.content


@worker_process_shutdown.connect
def close(**_: Any) -> None:
    mirror.close()
