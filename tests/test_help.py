"""Help: by tasks, in sentences, with examples that can be given, and completed on Tab."""

import shlex

import pytest

from farfield.cli.complete import words
from farfield.command.commands import COMMANDS, read_line
from farfield.command.settings import WINGS, help_of, leaves
from tests.tiny import farfield


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_two_examples_that_its_declaration_takes(name):
    settings = COMMANDS[name].settings
    assert len(settings.epilog) == 2
    own = 0
    for line in settings.epilog:
        command, given = read_line(shlex.split(line)[1:])
        own += command.name == name
        made = [word for i, word in enumerate(given) if word not in OF_RUNS and (i == 0 or given[i - 1] != "-o")]
        command.settings.of(**command.settings.parse(made))
    assert own


OF_RUNS = {"-o", "--open"}
"""Options that no declaration has."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_is_a_sentence(name):
    settings = COMMANDS[name].settings
    said = [help_of(settings), *(leaf.option.help for leaf in leaves(settings))]
    for text in said:
        assert text[0].isupper() and text.endswith((".", "?")) and len(text.split()) > 2, text
        assert not text.startswith(("Of ", "At most ", "Between ")), text


def test_commands_stand_under_what_they_are_for():
    places = [WINGS.index(command.settings.wing) for command in COMMANDS.values()]
    assert places == sorted(places) and set(places) == set(range(len(WINGS)))
    shown = farfield("--help").out
    assert sorted(WINGS, key=lambda wing: shown.index(f" {wing} ")) == list(WINGS)
    assert "$ farfield expand cifar10-32 hubble" in farfield("expand", "--help").out


def test_names_and_files_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    known = {leaf.name: leaf for leaf in leaves(COMMANDS["expand"].settings)}
    assert words(known["model"], "cif") == ["cifar10-32"]
    assert words(next(one for one in known.values() if one.option.names == "source"), "hub") == ["hubble", "hub/"]
    assert words(known["sampler"], "p") == ["patchwork", "perturbation"] and words(known["device"], "c") == [
        "cpu",
        "cuda",
    ]
    assert words(known["descriptors"], "incep") == ["inception"]
