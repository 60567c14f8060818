"""What several dashboards share. The first row of each answers in ten seconds whether all is well: green is well."""

from form import Panel

SYMBOL_PAGE = "/d/context8-symbol?var-symbol=${__field.labels.symbol}"


def quantile(share: str, metric: str, by: str = "le", where: str = "") -> str:
    """Return PromQL for a quantile of a histogram, over the panel's interval."""
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{where}[$__rate_interval])))"


def answering(role: str) -> Panel:
    """Return the panel of how many processes of a role answer Prometheus."""
    title = f"{role.capitalize()}s"
    count = f'count(up{{job="context8-{role}"}} == 1) or vector(0)'
    return Panel(title, f"{title} that answer Prometheus.", "none", {"": count}, (1, 0.5), "stat", 6)


def processes(job: str) -> list[Panel]:
    """Return the panels of CPU and memory of the jobs that match."""
    return [
        Panel(
            "CPU",
            "CPU time of each process: 100 % is one core. A worker uses one core at most.",
            "percentunit",
            {"{{instance}}": f'rate(process_cpu_seconds_total{{job=~"{job}"}}[$__rate_interval])'},
            (0.7, 0.9),
            width=12,
        ),
        Panel(
            "Memory",
            "Resident memory of each process. It grows with symbols, not with time.",
            "bytes",
            {"{{instance}}": f'process_resident_memory_bytes{{job=~"{job}"}}'},
            width=12,
        ),
    ]
