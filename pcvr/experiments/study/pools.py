"""Where cells run: in this process, in joblib's processes, on a dask cluster or on ray. All give futures.

`joblib.Parallel` drives these as backends too, but an error outside the called function (a process that was killed)
ends the whole call there, with its other results, and on dask it is never noticed. A future belongs to one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from typing import Any, Protocol

from pcvr.errors import PcvrError, first_line, shown
from pcvr.utils.checks import check_choice

BACKENDS = ("loky", "dask", "ray")
_ANSWER = 30
"""Seconds for a cluster to answer."""


class Pool(Protocol):
    """Runs functions elsewhere.

    Attributes:
        size: how many at a time.
        killed: errors of a future whose process was killed.
    """

    size: int
    killed: tuple[type[BaseException], ...]

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start ``function(*args)`` where there is room."""
        ...

    def renew(self) -> bool:
        """Make the pool usable after a process was killed; return whether everything that was at work is lost."""
        ...

    def alive(self) -> bool:
        """Return whether any process is there to work."""
        ...


@contextmanager
def pool_of(
    backend: str = "loky", jobs: int | None = None, address: str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Pool]:
    """Yield a pool; whatever still runs in it when the block ends is stopped.

    Args:
        backend: ``"loky"``: joblib's processes on this machine, and with one job this process itself; ``"dask"`` or
            ``"ray"``: a cluster of that kind.
        jobs: cells at a time; by default 1, or on a cluster at an address as many as it has workers.
        address: of a running cluster; by default a local one is started.
        env: environment variables of joblib's processes.

    Raises:
        PcvrError: an unknown backend, a package that is not installed, or a cluster that does not answer.
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "loky" and address is not None:
        raise PcvrError(f"address is {shown(address)}, but backend 'loky' has none: give backend 'dask' or 'ray'.")
    if backend == "loky":
        with _here() if (jobs or 1) == 1 else _processes(jobs or 1, env) as pool:
            yield pool
    else:
        with (_dask if backend == "dask" else _ray)(jobs, address) as pool:
            yield pool


class _Here:
    size = 1
    killed: tuple[type[BaseException], ...] = ()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future

    def renew(self) -> bool:
        return False

    def alive(self) -> bool:
        return True


@contextmanager
def _here() -> Iterator[Pool]:
    yield _Here()


class _Processes:
    killed: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, size: int, env: Mapping[str, str]) -> None:
        self.size, self._env = size, env
        self.executor: Any = None
        self.renew()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        return self.executor.submit(function, *args)

    def renew(self) -> bool:
        from joblib.externals.loky import ProcessPoolExecutor

        self.close()
        self.executor = ProcessPoolExecutor(self.size, initializer=_end_with_parent, env=dict(self._env))
        return True

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(kill_workers=True)


@contextmanager
def _processes(size: int, env: Mapping[str, str] | None) -> Iterator[Pool]:
    pool = _Processes(size, env or {})
    try:
        yield pool
    finally:
        pool.close()


def _end_with_parent() -> None:
    """End this process soon after its parent, however that ended: an orphan would work on for nobody."""
    import os
    import threading
    import time

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Cluster:
    """A pool whose cluster replaces killed processes itself."""

    def __init__(
        self,
        size: int,
        submit: Callable[..., Future[Any]],
        killed: tuple[type[BaseException], ...],
        alive: Callable[[], bool],
    ) -> None:
        self.size, self._submit, self.killed, self._alive = size, submit, killed, alive

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        return self._submit(function, *args)

    def renew(self) -> bool:
        return False

    def alive(self) -> bool:
        return self._alive()


@contextmanager
def _dask(jobs: int | None, address: str | None) -> Iterator[Pool]:
    try:
        import dask
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError:
        raise PcvrError("backend 'dask' needs a package that is not installed: pip install distributed.") from None
    local = None
    if address is None:
        # A process a cell: torch's threads and random numbers belong to a process. Dask would try a cell that kills its
        # worker on the others; the runner does that, alone.
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            local = LocalCluster(n_workers=jobs or 1, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
    try:
        client = _answered(address, lambda: Client(local or address, timeout=_ANSWER, set_as_default=False))
        with client:
            threads = client.nthreads()
            if not threads or set(threads.values()) != {1}:
                raise PcvrError(
                    f"the dask cluster has {len(threads)} workers with {sorted(set(threads.values()))} threads each: "
                    "start at least one, with --nthreads 1, as each cell needs a process of its own."
                )
            executor = client.get_executor(pure=False)
            size = min(jobs or len(threads), len(threads))
            yield _Cluster(size, executor.submit, (KilledWorker,), lambda: bool(client.nthreads()))
            executor.shutdown(wait=False)
    finally:
        if local is not None:
            local.close()


@contextmanager
def _ray(jobs: int | None, address: str | None) -> Iterator[Pool]:
    try:
        import ray
    except ImportError:
        raise PcvrError("backend 'ray' needs a package that is not installed: pip install ray.") from None
    own = {"num_cpus": jobs or 1, "include_dashboard": False} if address is None else {"address": address}
    _answered(address, lambda: ray.init(log_to_driver=False, **own))
    try:
        size = int(ray.cluster_resources().get("CPU", 1))

        def submit(function: Callable[..., Any], *args: Any) -> Future[Any]:
            return ray.remote(num_cpus=1, max_retries=0)(function).remote(*args).future()

        killed = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
        yield _Cluster(min(jobs or size, size), submit, killed, ray.is_initialized)
    finally:
        ray.shutdown()


def _answered(address: str | None, connect: Callable[[], Any]) -> Any:
    """What `connect` returns.

    Raises:
        PcvrError: the cluster does not answer.
    """
    try:
        return connect()
    except Exception as problem:  # ray raises some that are nothing else
        where = "a local cluster could not be started" if address is None else f"no cluster answers at {shown(address)}"
        raise PcvrError(f"{where} ({first_line(problem)}): give the address of a running scheduler.") from problem
