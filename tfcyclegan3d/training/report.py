"""``report.html``: one self-contained page a person reads to see what a run did; a notebook shows its first parts.

A section is a function of the run's data that returns HTML, or nothing where it has nothing to say; ``SECTIONS`` puts
them in order.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfcyclegan3d import config as configuration
from tfcyclegan3d import pages
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.report_figures import curves
from tfcyclegan3d.training.run_folder import RunFolder, whole
from tfcyclegan3d.training.trainer import START

# Small multiples: title, columns with their names, what to look for.
LOSSES = (
    (
        "Adversarial",
        {"adversarial_mask": "masks", "adversarial_image": "images"},
        "How far the generators are from taking the critics in. It settles, rather than falls.",
    ),
    (
        "Cycle",
        {"cycle_mask": "mask → image → mask", "cycle_image": "image → mask → image"},
        "What is lost on the way to the other side and back. It should fall.",
    ),
    (
        "Identity",
        {"identity_mask": "masks", "identity_image": "images"},
        "How much a generator changes what already looks as it should. It should fall.",
    ),
    ("Dice loss", {"dice": "truth"}, "One minus the Dice coefficient with the truth, on patches. It should fall."),
    ("Supervised", {"supervised": "rendered"}, "The error on rendered synthetic masks. It should fall."),
    (
        "Critics",
        {"critics": "critics"},
        "How badly the critics tell real from made. Near zero, they have won and teach little.",
    ),
    (
        "Learning rates",
        {"learning_rate_generators": "generators", "learning_rate_critics": "critics"},
        "How large the steps are.",
    ),
)


@dataclass(frozen=True)
class RunData:
    """What a run folder holds for a report.

    Parameters
    ----------
    name : str
        Of the folder.
    manifest, config : dict
        ``manifest.json`` and ``config.json``.
    rows : list of dict
        Of ``metrics.csv``.
    previews : list of Path
        In the epochs' order.
    """

    name: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    rows: list[dict[str, str]]
    previews: list[Path]

    @classmethod
    def of(cls, run: RunFolder) -> RunData:
        """Read a folder.

        Raises
        ------
        OSError, ValueError, UserError
            Where a file is missing or damaged.
        """
        config = configuration.load(run.path / "config.json").to_dict()
        return cls(run.path.resolve().name, run.read_manifest(), config, run.read_metrics(), run.previews())


Section = Callable[[RunData], str]


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` from what else the folder holds."""
    data = RunData.of(run)
    body = "".join(section(data) for section in SECTIONS)
    text = pages.page(data.name, f"Training run {data.name}", body)
    with whole(run.path / "report.html") as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return run.path / "report.html"


def for_notebook(run: RunFolder) -> str:
    """Return the parts of the report that a notebook shows below its cell, as HTML that needs no other file.

    Raises
    ------
    OSError, ValueError, UserError
        Where the folder is gone or damaged.
    """
    data = RunData.of(run)
    sections = "".join(section(data) for section in IN_NOTEBOOK)
    return f'<style>{pages.STYLE}</style><div class="run">{sections}</div>'


def add_held_out(run: Path, table: str, picture: Path) -> None:
    """Put the scores of a held-out stack, as aligned text, and its picture (PNG) at the end of a run's report."""
    text = (run / "report.html").read_text(encoding="utf-8")
    section = pages.section(
        "A stack held out",
        f"<pre>{html.escape(table)}</pre>"
        "<p>The stack, the outlines of its mask, the mask, and the truth, which took no part in the training.</p>"
        + pages.wide(pages.embedded_png(picture.read_bytes(), "the held-out stack, its mask and its truth")),
    )
    with whole(run / "report.html") as unfinished:
        unfinished.write_text(text.replace(pages.END, section + pages.END), encoding="utf-8")


def add_objects(run: Path, lines: Sequence[str], rose: Path) -> None:
    """Put what was told of a held-out stack's objects, and rose diagrams (PNG), at the end of a run's report."""
    text = (run / "report.html").read_text(encoding="utf-8")
    section = pages.section(
        "Its objects",
        f"<pre>{html.escape(chr(10).join(lines))}</pre>"
        "<p>Objects were numbered in the mask and in the truth alike. Every nucleus is paired with at most one Golgi; "
        "the diagrams show in which direction in the plane the Golgi lies, the area of a sector how many do, the arrow "
        "their mean. Directions are random in this data set, so that no mean should stand out.</p>"
        + pages.embedded_png(rose.read_bytes(), "rose diagrams of the polarity found and of the true one"),
    )
    with whole(run / "report.html") as unfinished:
        unfinished.write_text(text.replace(pages.END, section + pages.END), encoding="utf-8")


# ---- sections


def verdict(data: RunData) -> str:
    """Say in a sentence how it ended, and what the run's own checks found."""
    manifest = data.manifest
    minutes = manifest["timings"]["total_minutes"]
    done = f"{_number(manifest['steps'], 'step')} in {_number(manifest['epochs'], 'epoch')} and {minutes:.1f} minutes"
    sentence = {
        "finished": f"The training ran to its end: {done}.",
        "interrupted": f"The training was interrupted after {done}; the same command with --resume goes on.",
        "failing": f"The training ran to its end, {done}, but its networks fail its own checks: do not trust them.",
        "stopped": f"The training was stopped by its own checks after {done}. Kept are the networks of the best epoch "
        "before: look at them closely.",
        "diverged": f"The training failed after {done}: a loss was no longer a finite number. "
        "Do not trust its networks, which are those saved last.",
    }.get(manifest["verdict"], f"The training ended as {manifest['verdict']} after {done}.")
    warnings = manifest["warnings"]
    if manifest["exit_status"] == 0:
        sentence += (
            f" Its own checks give {_number(len(warnings), 'warning')}."
            if warnings
            else " Its own checks found nothing wrong."
        )
    mood = "verdict" if manifest["exit_status"] == 0 and not warnings else "verdict bad"
    said = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in warnings)
    return f'<p class="{mood}">{html.escape(sentence)}</p>{said}'


def findings(data: RunData) -> str:
    """List what was found or assumed about the user's stacks."""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in data.manifest["notes"])
    return pages.section("What was found or assumed", f"<ul>{notes}</ul>") if notes else ""


def losses(data: RunData) -> str:
    """Draw the losses by kind, and the learning rates."""
    panels = ""
    for title, columns, meaning in LOSSES:
        figure = curves(data.rows, columns, "rate" if title == "Learning rates" else "loss")
        if figure is not None:
            picture = pages.embedded(figure, f"{title.lower()} by epoch")
            panels += f"<figure><figcaption><b>{title}.</b> {meaning}</figcaption>{picture}</figure>"
    phases = {row["phase"] for row in data.rows}
    dotted = " The dotted line is where the adversarial part begins." if len(phases) > 1 else ""
    return pages.section(
        "Losses", f'<p>Means over each epoch.{dotted}</p><div class="panels">{panels}</div>', when=panels
    )


def patches(data: RunData) -> str:
    """Show the patches of the last, a middle and the first epoch."""
    some = sorted({0, len(data.previews) // 2, len(data.previews) - 1}, reverse=True) if data.previews else []
    shown = "".join(_preview(data.previews[i]) for i in some)
    return pages.section("What the networks do", _explained(data) + shown, when=some)


def last_patches(data: RunData) -> str:
    """Show the patches of the last epoch."""
    shown = "".join(map(_preview, data.previews[-1:]))
    return pages.section("What the networks do", _explained(data) + shown, when=data.previews)


def checks(data: RunData) -> str:
    """Draw every monitor over the epochs beside its threshold."""
    panels, unmeasured = "", []
    for name, monitor in MONITORS.items():
        threshold = data.config["monitors"][name]["threshold"]
        figure = curves(data.rows, {f"monitors/{name}": name}, name.replace("_", " "), threshold, _selected(data))
        if figure is not None:
            last = next(row[f"monitors/{name}"] for row in reversed(data.rows) if row.get(f"monitors/{name}"))
            mark = "✗ bad" if monitor.is_bad(float(last), threshold) else "✓ good"
            caption = (
                f"<b>{name.replace('_', ' ').capitalize()}</b> ({mark} at the end): {monitor.asks}. "
                f"Bad {monitor.fails} {threshold:g}."
            )
            panels += f"<figure><figcaption>{caption}</figcaption>{pages.embedded(figure, f'{name} by epoch')}</figure>"
        else:
            unmeasured.append(name.replace("_", " "))
    returns = "".join(
        f"<li>After epoch {one['from_epoch']} the training went back to epoch {one['to_epoch']} and on from there with "
        f"lower learning rates: {html.escape(one['why'])}</li>"
        for one in data.manifest["returns"]
    )
    text = (
        "<p>Measured after each epoch on fixed patches of the stacks and masks. The dashed line is the threshold, the "
        "green band the epoch kept."
        + (f" Not to be measured here: {', '.join(unmeasured)}." if unmeasured else "")
        + "</p>"
    )
    return pages.section("Checks", f'{text}<ul>{returns}</ul><div class="panels">{panels}</div>', when=panels)


def networks(data: RunData) -> str:
    """Say which epoch's networks the run saved, and why."""
    best = data.manifest["selected"]
    if best is None:
        return pages.section(
            "The networks kept", "<p>No epoch was finished: the networks are those of the last step.</p>"
        )
    if not _is_cyclegan(data):
        return _best_validated(data, best)
    figure = agreement_curves(data)
    phases = {int(row["epoch"]): row["phase"] for row in data.rows}
    part = ""
    if len(set(phases.values())) > 1:
        part = (
            "<p>The dotted line is where the adversarial part begins, which learns from your stacks, too. The epochs "
            "before it and those after it count alike in the mean, however many they are."
        )
        if phases.get(best["epoch"]) == START:
            part += " The epoch kept is from before it: it has learned from rendered synthetic masks alone."
        part += "</p>"
    weights = "the averaged weights" if best["which"] == "averaged" else "the weights"
    text = (
        f"<p><code>image_to_mask.keras</code> and <code>mask_to_image.keras</code> hold {weights} of "
        f"<b>epoch {best['epoch']}</b>. No label says which epoch is best. Networks that are right agree, and each "
        "wrong one errs in a way of its own: kept is the epoch whose masks of fixed patches agree best with the mean "
        f"of all epochs' masks, but for early ones whose losses ask for larger objects (agreement {best['score']:.3f} "
        "of 1; the curve shows what each epoch had when it came)"
        + (", among those that passed the checks.</p>" if best["sound"] else "; no epoch passed all checks.</p>")
        + part
    )
    panel = (
        f'<div class="panels"><figure>{pages.embedded(figure, "agreement by epoch")}</figure></div>' if figure else ""
    )
    return pages.section("The selected epoch and why", text + panel)


def agreement_curves(data: RunData) -> Figure | None:
    """Draw by what the epoch was chosen, over the epochs: agreement, or Dice coefficient where there was a truth."""
    if _is_cyclegan(data):
        columns, label = {f"scores/{which}": f"{which} weights" for which in ("averaged", "raw")}, "agreement"
    else:
        columns = {f"validation/{name}": name for name in data.manifest["classes"]} | {"validation/mean": "mean"}
        label = "Dice coefficient"
    return curves(data.rows, columns, label, marked_epoch=_selected(data))


def _best_validated(data: RunData, best: Mapping[str, Any]) -> str:
    figure = agreement_curves(data)
    of = "synthetic masks held back" if data.config["method"] == "two-stage" else "the validation stacks"
    text = (
        f"<p><code>image_to_mask.keras</code> holds the weights of <b>epoch {best['epoch']}</b>, whose masks of {of} "
        f"had the highest Dice coefficient, mean over the classes ({best['score']:.3f}). The training ends when "
        f"{data.config['supervised']['patience']} epochs have not been better.</p>"
    )
    panel = (
        f'<div class="panels"><figure>{pages.embedded(figure, "validation by epoch")}</figure></div>' if figure else ""
    )
    return pages.section("The selected epoch and why", text + panel)


def timings(data: RunData) -> str:
    """Say how long it took."""
    seconds = data.manifest["timings"]
    return pages.section(
        "Time",
        pages.table(
            {
                "preparation": f"{seconds['preparation_minutes']:.1f} minutes",
                "training": f"{seconds['training_minutes']:.1f} minutes",
                "a step": f"{seconds['seconds_per_step']:.3g} seconds" if seconds["seconds_per_step"] else "not known",
            }
        ),
    )


def inputs(data: RunData) -> str:
    """Name the stacks and their fingerprints."""
    stacks = data.manifest["inputs"]  # Two may bear one name.
    entries = [(one["name"], f"sha256 {one['sha256']}" if one["sha256"] else "an array") for one in stacks]
    return f"<details><summary>Inputs ({len(stacks)})</summary>{pages.table(entries)}</details>"


def settings(data: RunData) -> str:
    """Show the command and every setting."""
    manifest = data.manifest
    brief = {
        "command": manifest["command"],
        "preset": manifest["preset"],
        "seed": manifest["seed"],
        "classes": ", ".join(manifest["classes"]),
    }
    text = html.escape(json.dumps(data.config, indent=2))
    return f"<details><summary>Settings</summary>{pages.table(brief)}<pre>{text}</pre></details>"


def machine(data: RunData) -> str:
    """Describe what it ran on."""
    entries = data.manifest["machine"] | {
        "precision": data.manifest["policy"],
        "gpus": ", ".join(data.manifest["machine"]["gpus"]) or "none",
    }
    return f"<details><summary>Machine</summary>{pages.table(entries)}</details>"


SECTIONS: tuple[Section, ...] = (
    verdict,
    patches,
    networks,
    checks,
    losses,
    findings,
    timings,
    inputs,
    settings,
    machine,
)
IN_NOTEBOOK: tuple[Section, ...] = (verdict, last_patches, checks, losses)


# ---- parts of sections


def _selected(data: RunData) -> int | None:
    return data.manifest["selected"]["epoch"] if data.manifest["selected"] else None


def _is_cyclegan(data: RunData) -> bool:
    return data.config["method"] == "cyclegan"


def _explained(data: RunData) -> str:
    """Say what a preview shows."""
    return _PATCHES if _is_cyclegan(data) else _PAIRED_PATCHES


_PAIRED_PATCHES = (
    "<p>The middle plane of a few tiles that were held back for validation: an image, its truth, and the mask "
    "predicted from it.</p>"
)
_PATCHES = (
    "<p>The middle plane of a few patches. On the left, an image, the mask predicted from it, and the image made of "
    "that mask again; on the right, a synthetic mask, the image made of it, and the mask predicted from that.</p>"
)


def _preview(path: Path) -> str:
    epoch = int(path.stem.removeprefix("epoch_"))
    picture = pages.wide(pages.embedded_png(path.read_bytes(), f"patches after epoch {epoch}"))
    return f"<figure><figcaption><b>Epoch {epoch}</b></figcaption>{picture}</figure>"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
