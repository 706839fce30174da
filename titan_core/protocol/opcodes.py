"""The opcodes: the Java system's numbers where the meaning is the same, 0x20–0x4F and 0x70–0x7F for the rest."""

from __future__ import annotations

from enum import IntEnum


class Opcode(IntEnum):
    HEARTBEAT = 0x01
    """Both ways on a session: I am here, and this is my load."""
    REGISTER = 0x02
    """Worker → master, once per session: who I am, what I run, what I finished."""
    SUBMIT_JOB = 0x03
    """Text clients only: one job. Native clients send SUBMIT_DAG."""
    SUBMIT_DAG = 0x04
    """Client → master: a run, or more jobs for a run."""
    DEPLOY = 0x05
    """Text clients only: a file of perm_files/ as a service."""
    RUN = 0x06
    """Text clients only: a file of perm_files/ as a job."""
    STOP = 0x07
    """Client → master: stop a service."""
    STATS = 0x08
    """Client → master: the monitor text."""
    STATS_JSON = 0x09
    """Client → master: the cluster in figures (JSON in the text form)."""
    KILL_WORKER = 0x11
    """Client → master: stop a worker."""
    JOB_COMPLETE = 0x12
    """Worker → master: the result of an attempt."""
    GET_LOGS = 0x16
    """Client → master: a piece of an attempt's log, waiting for more if asked to."""
    LOG_BATCH = 0x17
    """Worker → master: what an attempt has printed since."""

    LIST_RUNS = 0x20
    ASSET_DATA = 0x21
    """Either way: the raw bytes of an asset, in pieces; follows UPLOAD_ASSET, or FETCH_ASSET's reply."""
    GET_RUN = 0x22
    RETRY = 0x23
    EXPLAIN = 0x24
    LIST_JOBS = 0x25
    LIST_WORKERS = 0x26
    LIST_ASSETS = 0x27
    LIST_EVENTS = 0x28
    """Client → master: what happened to a run, with reasons."""
    DRAIN_WORKER = 0x29
    """Client → master: give a worker no more work, or work again."""
    BACKUP = 0x2A
    """Client → master: send a copy of everything that is needed to go on elsewhere."""
    CHECK = 0x2B
    """Client → master: is what is stored sound?"""
    START_SERVICE = 0x2C
    """Client → master: want a stopped service again, or try one in a crash loop now."""
    RESTART_SERVICE = 0x2D
    """Client → master: restart the instances of a service, one after the other."""
    SCALE_SERVICE = 0x2E
    """Client → master: how many instances a service is to have."""
    UPDATE_SERVICE = 0x2F
    """Client → master: give a service a new definition, one instance after the other."""

    START_ATTEMPT = 0x30
    """Master → worker: run this."""
    STOP_ATTEMPT = 0x31
    """Master → worker: end this, and everything it started."""
    SERVICE_READY = 0x32
    """Worker → master: a service answers, and where."""
    RESULT_ACK = 0x33
    """Master → worker: these results are kept, forget them."""
    SHUTDOWN = 0x34
    """Master → worker: finish what your grace allows and exit."""
    GOODBYE = 0x35
    """Worker → master: give me no more work, I am stopping."""
    FORGET_RUNS = 0x36
    """Master → worker: nobody will ask for these runs any more, delete their files."""
    SPAWN_WORKER = 0x37
    """Master → worker: start another worker beside you."""
    SPAWN_FAILED = 0x38
    """Worker → master: that worker did not start, or has ended at once."""
    LOG_SINKS = 0x39
    """Master → worker: who collects log lines."""

    LIST_SERVICES = 0x40
    """Client → master: the services, their instances and their addresses."""
    START_WORKER = 0x41
    """Client → master: have one more worker started on a given port."""
    PUT_SCHEDULE = 0x42
    """Client → master: make a schedule, or change it."""
    LIST_SCHEDULES = 0x43
    GET_SCHEDULE = 0x44
    PAUSE_SCHEDULE = 0x45
    """Client → master: let a schedule start nothing, or start again."""
    TRIGGER_SCHEDULE = 0x46
    """Client → master: fire a schedule now."""
    REMOVE_SCHEDULE = 0x47
    BACKFILL_SCHEDULE = 0x48
    """Client → master: make up for fires of the past."""
    LIST_FIRES = 0x49
    """Client → master: what became of a schedule's fires."""
    ATTACH_COLLECTOR = 0x4A
    """Client → master: have log lines sent here as they are printed."""

    ACK = 0x50
    ERROR = 0x51
    DATA = 0x52
    UPLOAD_ASSET = 0x53
    """Client → master: I want to send this content."""
    FETCH_ASSET = 0x54
    """Client or worker → master: send me this content."""
    GET_JOB_STATUS = 0x55
    CANCEL_JOB = 0x56
    """Client → master: cancel a job, or a whole run."""
    DEPLOY_SCRIPT = 0x57
    """Text clients only: upload a script."""

    AUTH_HELLO = 0x70
    AUTH_CHALLENGE = 0x71
    AUTH_PROOF = 0x72
    AUTH_WELCOME = 0x73
