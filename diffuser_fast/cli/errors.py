"""What the command line says when something goes wrong: one line for whoever can mend it, a traceback for us.

An error is the user's to mend if this package raised it on purpose, or the system did (no such file, a full disk, a
package that is not installed). Everything else is a defect, keeps its traceback, and says that it is one.
"""

from __future__ import annotations

import dis
import re
import traceback
from contextvars import ContextVar
from typing import Any

import click

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130  # exit codes
OF_THE_SYSTEM = (OSError, ImportError, FloatingPointError, MemoryError)
OF_THE_INPUT = (ValueError, TypeError, FileNotFoundError)
# Package -> the extra that brings it.
EXTRAS = {
    "torch": "torch", "triton": "gpu", "gymnasium": "envs", "mujoco": "envs", "h5py": "envs", "matplotlib": "envs",
    "PIL": "envs", "minari": "minari",
}  # fmt: skip
# Arguments of functions -> parameters of commands, where the two differ.
ALIASES = {
    "guide.n_steps": "guide_steps", "guide.t_stopgrad": "t_stopgrad",
    "load.horizon": "trained_horizon", "env_id": "env", "n_timesteps": "diffusion_steps", "fields": "field",
    "conditions": "condition", "conditions[0]": "obs", "conditions[-1]": "goal",
}  # fmt: skip

# Arguments that a command makes itself.
NOBODYS = {"conditions[0]": "the observation now", "conditions[-1]": "the goal"}

wants_traceback: ContextVar[bool] = ContextVar("wants_traceback", default=False)


def option_of(name: str, command: click.Command | None = None) -> str | None:
    """How a command (None: the one that runs) spells the argument ``name`` of a function; None if it has no such."""
    if command is None:
        context = click.get_current_context(silent=True)
        command = context.command if context else None
    if command is None:
        return None
    base, index = re.fullmatch(r"([\w.]+)(.*)", name, re.DOTALL).groups()
    for spelt, rest in ((ALIASES.get(name), ""), (ALIASES.get(base), index), (base.rpartition(".")[2], index)):
        for parameter in command.params:
            if parameter.name == spelt:
                flag = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else spelt.upper()
                return f"{flag} {rest}".rstrip()
    return None


def failed(error: Exception, command: click.Command | None) -> int:
    """Say what happened on standard error, and return the exit code."""
    sentence, names_an_option = _spelt(str(error), command)
    ours = isinstance(error, OF_THE_SYSTEM) or names_an_option or is_deliberate(error)
    if wants_traceback.get() or not ours:
        traceback.print_exception(error)
    if not ours:
        click.echo("error: this is a defect of diffuser-fast, not of what it was given; please report it", err=True)
        return FAILED
    click.echo(f"error: {_with_extra(error, command) or sentence}", err=True)
    return WRONG_INPUT if isinstance(error, OF_THE_INPUT) else FAILED


def warned(message: Warning | str, *_: Any, **__: Any) -> None:
    """What stands in for ``warnings.showwarning``: one line on standard error, in the command's words."""
    context = click.get_current_context(silent=True)
    sentence, names_an_option = _spelt(str(message), context.command if context else None)
    for name, words in {} if names_an_option else NOBODYS.items():
        sentence = sentence.replace(name, words, 1) if sentence.startswith(name) else sentence
    click.echo(f"warning: {sentence}", err=True)


def is_deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this package raised it, and not a call that went wrong."""
    trace: Any = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals.get("__name__", "")
    operation = dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]]
    return module.partition(".")[0] == __name__.partition(".")[0] and operation == "RAISE_VARARGS"


def _spelt(sentence: str, command: click.Command | None) -> tuple[str, bool]:
    """Errors begin with the argument they are about: here with the option, if the command has one for it."""
    found = re.match(r"(\w+(?:\[[^\]]*\])?)((?:\[[^\]]*\])*):", sentence)
    option = option_of(found[1], command) if found and command else None
    return (f"{option}{sentence[found.end(1) :]}", True) if option else (sentence, False)


def _with_extra(error: Exception, command: click.Command | None) -> str | None:
    """What to install for a package that is missing, where the error does not say it itself."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ImportError) or package not in EXTRAS or "diffuser-fast[" in str(error):
        return None
    name = command.name if command else "this command"
    extra = "train" if name == "train" else EXTRAS[package]
    return f"{name} needs {package}: pip install diffuser-fast[{extra}]"
