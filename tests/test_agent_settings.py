"""What is set for agents: where it comes from, and how what is wrong is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, Secret, SecretBytes, SecretStr, field_validator, model_validator

from voice_agent.agent_settings import AgentSettings, settings_of_all
from voice_agent.agents.echo import Echo
from voice_agent.agents.files import AgentFile
from voice_agent.agents.registry import ServedAgent
from voice_agent.errors import SettingsError
from voice_agent.kit.agent import Agent


class Limits(BaseModel):
    """A group of settings."""

    calls: Annotated[int, Field(ge=1)] = 1


class Declared(BaseModel):
    """One of each kind."""

    limit: Annotated[int, Field(ge=1, le=10)] = 3
    pause_s: Annotated[float, Field(gt=0)] = 0.5
    greeting: Annotated[str, Field(max_length=20)] = "Hello."
    mood: Literal["calm", "merry"] = "calm"
    is_loud: bool = False
    words: list[str] = []
    sizes: tuple[int, ...] = ()
    prices: dict[str, float] = {}
    limits: Limits = Limits()
    key: SecretStr | None = None
    model_url: str = ""

    @field_validator("greeting")
    @classmethod
    def _no_shouting(cls, greeting: str) -> str:
        if greeting.isupper():
            raise ValueError("is shouted")
        return greeting

    @model_validator(mode="after")
    def _merry_is_loud(self) -> Declared:
        if self.mood == "merry" and not self.is_loud:
            raise ValueError("who is merry is loud")
        return self


class Desk(Agent):
    """Says what it takes."""

    name = "front-desk"
    Settings = Declared


class Counter(Agent):
    """Takes anything."""

    name = "counter"


def found(*agents: Agent, file: Any = None, **variables: Any) -> tuple[dict[str, AgentSettings], list[str]]:
    """What is set for agents, and warnings, by variables without what all begin with."""
    at = AgentFile(file, "Any") if file is not None else None
    served = {agent.name: ServedAgent(agent, "", at) for agent in agents} | {"echo": ServedAgent(Echo(), "echo")}
    return settings_of_all(served, {f"VOICE_AGENT_{name}": value for name, value in variables.items()})


def desk(file: Path | None = None, **variables: str) -> Any:
    """The settings of the desk."""
    return found(Desk(), file=file, **{f"FRONT_DESK_{name}": value for name, value in variables.items()})[0][
        "front-desk"
    ].values


def refusal(*agents: Agent, file: Any = None, **variables: Any) -> str:
    """The line with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        found(*agents, file=file, **variables)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_an_agent_that_declares_its_settings_gets_an_instance_of_them() -> None:
    """Each field from a variable, as what it is."""
    assert desk() == Declared()
    settings = desk(
        LIMIT="7",
        PAUSE_S="1.5",
        GREETING="Good day.",
        MOOD="merry",
        IS_LOUD="true",
        WORDS="one, two,",
        SIZES="[1, 2]",
        PRICES='{"tea": 2.5}',
        LIMITS='{"calls": 4}',
    )
    assert settings == Declared(
        limit=7,
        pause_s=1.5,
        greeting="Good day.",
        mood="merry",
        is_loud=True,
        words=["one", "two"],
        sizes=(1, 2),
        prices={"tea": 2.5},
        limits=Limits(calls=4),
    )


def test_a_list_may_have_one_entry() -> None:
    """A number alone is JSON as well, but no list."""
    assert desk(SIZES="5").sizes == (5,)
    assert desk(WORDS="5").words == ["5"]


def test_an_agent_that_declares_nothing_gets_text_by_name() -> None:
    """Whatever is set, in lower case; it is not to be changed."""
    settings = found(Counter(), COUNTER_MODEL_URL="http://ours", COUNTER_KEY_FILE="/key")[0]["counter"].values
    assert dict(settings) == {"model_url": "http://ours", "key_file": "/key"}
    with pytest.raises(TypeError):
        settings["model_url"] = ""
    assert found(Counter())[0]["counter"].values == {}


def test_variables_stand_over_the_file_that_one_of_them_names(tmp_path: Path) -> None:
    """A file is for what is the same everywhere, a variable for what is not."""
    file = tmp_path / "any.toml"
    file.write_text("limit = 4\ngreeting = 'Welcome.'\nwords = ['one']\nlimits.calls = 9\near = 'good'", "utf-8")
    settings = desk(SETTINGS=str(file), GREETING="Good day.")
    assert settings == Declared(limit=4, greeting="Good day.", words=["one"], limits=Limits(calls=9))
    taken = found(Counter(), COUNTER_SETTINGS=str(file), COUNTER_VOICE="soft")[0]["counter"]
    assert (taken.ear, taken.voice) == (("good",), ("soft",))
    assert dict(taken.values) == {"limit": 4, "greeting": "Welcome.", "words": ["one"], "limits": {"calls": 9}}


def test_the_file_beside_that_of_the_agent_is_taken_if_it_is_there(tmp_path: Path) -> None:
    """Unless a variable names another."""
    assert desk(file=tmp_path / "desk.py") == Declared()
    (tmp_path / "desk.toml").write_text("limit = 4", encoding="utf-8")
    (tmp_path / "other.toml").write_text("limit = 5", encoding="utf-8")
    assert desk(file=tmp_path / "desk.py").limit == 4
    assert desk(file=tmp_path / "desk.py", SETTINGS=f"{tmp_path}/other.toml").limit == 5


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """Its line end is not part of it; it is not shown."""
    (tmp_path / "key").write_text("open sesame\n", encoding="utf-8")
    settings = desk(KEY_FILE=f"{tmp_path}/key")
    assert settings.key.get_secret_value() == "open sesame"
    assert "sesame" not in repr(settings)
    given = {"FRONT_DESK_KEY": "a", "FRONT_DESK_KEY_FILE": "b"}
    both = "VOICE_AGENT_FRONT_DESK_KEY and VOICE_AGENT_FRONT_DESK_KEY_FILE are both set; keep one of them."
    assert refusal(Desk(), **given) == both
    missing = "VOICE_AGENT_FRONT_DESK_KEY_FILE: cannot read '/nowhere/key': No such file or directory."
    assert refusal(Desk(), FRONT_DESK_KEY_FILE="/nowhere/key") == missing


class WithKeyFile(Agent):
    """Reads the file of its key by itself."""

    name = "keyed"

    class Settings(BaseModel):
        key: SecretStr = SecretStr("")
        key_file: Path | None = None


def test_a_setting_that_is_called_like_a_secrets_file_is_the_agents_own() -> None:
    """It gets the name of the file."""
    assert found(WithKeyFile(), KEYED_KEY_FILE="/key")[0]["keyed"].values.key_file == Path("/key")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("LIMIT", "11", "LIMIT: 11 is too large; allowed: 1–10."),
        ("LIMIT", "many", "LIMIT: many is not a whole number; allowed: 1–10."),
        ("PAUSE_S", "0", "PAUSE_S: 0 is too small; allowed: more than 0.0."),
        ("GREETING", "g" * 21, f"GREETING: {'g' * 21} is too long; allowed: at most 20 characters."),
        ("GREETING", "GO", "GREETING: is shouted."),
        ("GREETING", "a\nb\tB\r\n" * 5, f"GREETING: {'a b B ' * 4}a b B is too long; allowed: at most 20 characters."),
        ("MOOD", "sad", "MOOD: sad is not known; allowed: calm, merry."),
        ("IS_LOUD", "very", "IS_LOUD: very is neither true nor false."),
        ("SIZES", "1,two", "SIZES: sizes.1: the value is not a whole number."),
        ("PRICES", "dear", "PRICES: Input should be a valid dictionary."),
        ("LIMITS", '{"calls": 0}', "LIMITS: limits.calls: the value is too small; allowed: at least 1."),
    ],
)
def test_a_wrong_value_is_told_in_one_line(name: str, value: str, line: str) -> None:
    """The line names the variable, the value and what is allowed."""
    assert refusal(Desk(), **{f"FRONT_DESK_{name}": value}) == f"VOICE_AGENT_FRONT_DESK_{line}"


def test_what_is_wrong_in_a_file_is_told_by_its_name_there(tmp_path: Path) -> None:
    """Whoever wrote it looks there, and not among the variables."""
    file = tmp_path / "desk.toml"
    file.write_text("limit = 11", encoding="utf-8")
    assert refusal(Desk(), file=tmp_path / "desk.py") == f"{file}: limit: 11 is too large; allowed: 1–10."
    file.write_text("limt = 1", encoding="utf-8")
    unknown = f"{file}: 'limt' is not a setting of 'front-desk'; did you mean 'limit'?"
    assert refusal(Desk(), file=tmp_path / "desk.py") == unknown
    file.write_text("limit = = 1", encoding="utf-8")
    unreadable = refusal(Desk(), file=tmp_path / "desk.py")
    assert unreadable.startswith(f"VOICE_AGENT_FRONT_DESK_SETTINGS: cannot read '{file}': Invalid value (at line 1")


def test_a_file_that_is_named_and_not_there_stops_the_start() -> None:
    """Running without what the operator meant to set would be worse."""
    line = "VOICE_AGENT_COUNTER_SETTINGS: cannot read '/nowhere.toml': No such file or directory."
    assert refusal(Counter(), COUNTER_SETTINGS="/nowhere.toml") == line


def test_what_is_wrong_with_several_settings_together_is_told() -> None:
    """It is no field's fault alone."""
    line = "The settings of the agent 'front-desk': who is merry is loud."
    assert refusal(Desk(), FRONT_DESK_MOOD="merry") == line


class Strict(Agent):
    """Needs an address."""

    name = "strict"

    class Settings(BaseModel):
        url: str
        key: SecretStr = SecretStr("")

        @field_validator("key")
        @classmethod
        def _check_key(cls, key: SecretStr) -> SecretStr:
            return {"good": key}[key.get_secret_value()]


def test_a_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    """With the file that it may stand in, if there is one."""
    assert refusal(Strict()) == "VOICE_AGENT_STRICT_URL must be set."
    (tmp_path / "strict.toml").write_text("", encoding="utf-8")
    line = f"VOICE_AGENT_STRICT_URL must be set, or url in {tmp_path}/strict.toml."
    assert refusal(Strict(), file=tmp_path / "strict.py") == line


def test_a_check_that_fails_itself_stops_the_start() -> None:
    """In one line as well, which names the agent."""
    line = "The settings of the agent 'strict' cannot be checked: KeyError: 'bad'."
    assert refusal(Strict(), STRICT_URL="x", STRICT_KEY="bad") == line


class Hiding(Agent):
    """Takes keys of a certain form."""

    name = "hiding"

    class Settings(BaseModel):
        key: Annotated[SecretStr, Field(max_length=3)] = SecretStr("")
        raw: SecretBytes | None = None
        pin: Secret[int] = Secret(0)
        parts: Literal["a", "b"] | SecretStr = "a"


@pytest.mark.parametrize(("name", "is_wrong"), [("KEY", True), ("RAW", False), ("PIN", True), ("PARTS", False)])
def test_a_secret_is_shown_nowhere_and_may_come_from_a_file(name: str, is_wrong: bool, tmp_path: Path) -> None:
    """Of whatever kind it is: lines may stand in a log."""
    (tmp_path / "secret").write_text("sesame", encoding="utf-8")
    for given in ({f"HIDING_{name}": "sesame"}, {f"HIDING_{name}_FILE": f"{tmp_path}/secret"}):
        shown = refusal(Hiding(), **given) if is_wrong else repr(found(Hiding(), **given)[0])
        assert f"VOICE_AGENT_HIDING_{name}" in shown if is_wrong else "hiding" in shown
        assert "sesame" not in shown


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("FRONT_DESK_LIMITT", "FRONT_DESK_LIMIT"),
        ("FRONT_DESK_MODELURL", "FRONT_DESK_MODEL_URL"),
        ("FRONT_DESK_EARS", "FRONT_DESK_EAR"),
        ("FRONTDESK_LIMIT", None),
        ("FRONT_DESKS_LIMIT", "FRONT_DESK_LIMIT"),
        ("COUNTR_URL", "COUNTER_URL"),
    ],
)
def test_a_misspelt_variable_stops_the_start(variable: str, meant: str | None) -> None:
    """As a misspelt one of the server; one that is like none is only warned of."""
    agents = Desk(), Counter()
    if meant is not None:
        assert refusal(*agents, **{variable: "1"}) == (
            f"VOICE_AGENT_{variable} is not a setting; did you mean VOICE_AGENT_{meant}?"
        )
    else:
        assert len(found(*agents, **{variable: "1"})[1]) == 1


@pytest.mark.parametrize(
    "variable",
    [
        "SERVICE_HOST",
        "PORT_8080_TCP_ADDR",
        "FRONT_DESK_PORT",
        "FRONT_DESK_SERVICE_HOST",
        "FRONT_DESKS_SERVICE_PORT_HTTP",
        "COUNTERS_PORT",
        "COUNTERS_PORT_8080_TCP",
        "ECHO_LIMIT",
        "",
    ],
)
def test_an_unrelated_variable_is_only_warned_of(variable: str) -> None:
    """What Kubernetes adds for services must not stop a pod, whatever they are called; `echo` takes no settings."""
    settings, warnings = found(Desk(), Counter(), **{variable: "x"})
    line = f"VOICE_AGENT_{variable} is not a setting of an agent that is served, and is ignored."
    assert (settings["front-desk"].values, warnings) == (Declared(), [line])


class FrontDeskTwo(Agent):
    """Its name begins like that of the desk."""

    name = "front-desk-two"


def test_of_two_agents_whose_names_begin_alike_the_longer_one_has_its_variables() -> None:
    """And the other has its own."""
    settings, warnings = found(Desk(), FrontDeskTwo(), FRONT_DESK_TWO_LIMIT="1", FRONT_DESK_LIMIT="2")
    assert (dict(settings["front-desk-two"].values), settings["front-desk"].values.limit) == ({"limit": "1"}, 2)
    assert warnings == []


class Model(Agent):
    """Its settings would be called like those of the desk for its model."""

    name = "front.desk.model"


def test_a_name_that_would_be_two_agents_setting_stops_the_start() -> None:
    """Set or not: the line names both."""
    line = (
        "VOICE_AGENT_FRONT_DESK_MODEL_URL would be a setting of the agents 'front-desk' and 'front.desk.model'; "
        "rename one of them."
    )
    assert refusal(Desk(), Model()) == line


class Open(Agent):
    """Declares some, and takes others as well."""

    name = "open"

    class Settings(BaseModel):
        model_config = ConfigDict(extra="allow")
        limit: int = 1


def test_an_agent_may_take_more_than_it_declares(tmp_path: Path) -> None:
    """As pydantic has it."""
    (tmp_path / "open.toml").write_text("third = 3", encoding="utf-8")
    settings = found(Open(), file=tmp_path / "open.py", OPEN_LIMIT="2", OPEN_OTHER="x")[0]["open"].values
    assert settings.model_dump() == {"limit": 2, "other": "x", "third": 3}


class Aliased(BaseModel):
    """A field that pydantic calls otherwise."""

    limit: int = Field(1, alias="most")


class ByName(Aliased):
    """But takes by its name as well."""

    model_config = ConfigDict(populate_by_name=True)


def test_a_setting_goes_by_its_name() -> None:
    """Whatever else pydantic calls it."""
    agent = type("Named", (Agent,), {"name": "named", "Settings": ByName})()
    assert found(agent, NAMED_LIMIT="3")[0]["named"].values.limit == 3


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        (
            Aliased,
            (
                "The agent 'wrong': its setting 'limit' has an alias; settings go by their names, which "
                "populate_by_name=True allows."
            ),
        ),
        (dict, "The agent 'wrong': its Settings are no class of pydantic's BaseModel."),
        (Declared(), "The agent 'wrong': its Settings are no class of pydantic's BaseModel."),
        (
            type("Mine", (BaseModel,), {"__annotations__": {"voice": str}}),
            "The agent 'wrong': its setting 'voice' must be called otherwise, for it is the server's.",
        ),
    ],
)
def test_settings_that_are_none_stop_the_start(declared: object, line: str) -> None:
    """Before anything of the agent is opened."""
    agent = type("Wrong", (Agent,), {"name": "wrong", "Settings": declared})()
    assert refusal(agent) == line


def test_the_example_of_the_documents_is_as_it_says() -> None:
    """The class that is shown, and the line with which a wrong value is refused."""
    text = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {"__name__": "shown"}
    exec(compile(code, "docs", "exec", dont_inherit=True), shown)  # noqa: S102  # it is ours
    line = refusal(shown["Desk"](), FRONT_DESK_MOST_GUESTS="30")
    assert f"`{line}`" in text
    assert found(shown["Desk"]())[0]["front-desk"].values.greeting == "Hello."
