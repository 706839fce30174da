"""Is run when a night has failed; stands for a message to whoever is on call."""

import os


def main() -> None:
    schedule, night = os.environ["TITAN_SCHEDULE"], os.environ["TITAN_SCHEDULED_FOR"]
    run = os.environ["TITAN_ALERT_RUN"] or "no run"
    print(f"{schedule} of {night}: {os.environ['TITAN_ALERT']}; look at {run}: titan ls {run}")


if __name__ == "__main__":
    main()
