"""The instances of a service: what they are called, and what each of them runs.

A service is named after the job that was submitted, which is its first instance; the others are `web.2`,
`web.3` … of the same run. Pure functions of the model.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from titan_core.scheduler.model import Job, JobSpec, Run, Service


def found(job: Job) -> Service:
    """The service that a submitted job is, with that job as its only instance."""
    service = Service(job, job.spec.policy.instances, {1: job.spec})
    job.run.services[job.job_id] = service
    join(service, job)
    return service


def join(service: Service, job: Job) -> None:
    service.instances.append(job)
    job.service = service


def next_id(service: Service) -> str:
    """The id of an instance that is to be made."""
    jobs = service.head.run.jobs
    names = (f"{service.head.job_id}.{number}" for number in itertools.count(len(service.instances) + 1))
    return next(name for name in names if name not in jobs)


def spec_of(service: Service, job_id: str, revision: int) -> JobSpec:
    """What the instance of this id runs in this revision."""
    return replace(service.specs[revision], job_id=job_id)


def find(run: Run, job_id: str) -> Service | None:
    """The service that a job of the run is an instance of."""
    job = run.jobs.get(job_id)
    return job.service if job is not None else None


def forget_old_specs(service: Service) -> None:
    """Let go of definitions older than any that somebody has, or may get. Newer ones stay, also those that were taken
    back, so that no number is given twice."""
    numbers = {service.revision, service.fallback, *(job.revision for job in service.instances)} - {0}
    oldest = min(numbers)
    service.specs = {revision: spec for revision, spec in service.specs.items() if revision >= oldest}
